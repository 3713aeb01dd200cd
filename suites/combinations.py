"""Pipelines that the matrix holds, and the models that meet them in the standard one.

Any other is run by naming it: `--technique 'prune_channels:0.7+openvino_int8'`.
"""

from __future__ import annotations

PIPELINES: dict[str, tuple[str, ...]] = {
    "prune_unstructured:0.5+onnxruntime_int8": (),
}
"""Name → globs of models of the standard matrix; the full matrix meets every model."""
