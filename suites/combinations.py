"""Pipelines that the matrix holds, and models that meet them, or a variant, in the standard one.

Any other is run by naming it: `--technique 'prune_channels:0.7+openvino_int8'`.
"""

from __future__ import annotations

PIPELINES: dict[str, tuple[str, ...]] = {
    "distill:4:0.9+onnxruntime_int8": ("resnet18", "mobilenet_v3_small"),
    "distill:4:0.9+prune_channels:0.5+openvino_int8": ("resnet18",),
    "distill:4:0.9+static_int8": (),
    "onnxruntime_int8:channel:auto": ("efficientnet_lite0",),
    "prune_channels:0.5+onnxruntime": (),
    "prune_channels:0.5+onnxruntime_int8": ("resnet18", "mobilenet_v3_small"),
    "prune_channels:0.7+onnxruntime_int8": (),
    "prune_channels:0.5+openvino_int8": (),
    "prune_channels:0.5+qat_int8": (),
    "prune_unstructured:0.5+onnxruntime_int8": ("resnet18",),
}
"""Name → globs of models of the standard matrix; the full matrix meets every model."""
