"""The module as an ONNX file run by TensorRT, through onnxruntime's provider for it."""

from __future__ import annotations

from torch import nn

from optimizers import onnx_model
from optimizers.base import Context, Device, Technique, register
from optimizers.onnx_export import export
from optimizers.onnx_model import OnnxModel
from zoo import Model

PROVIDER = "TensorrtExecutionProvider"


@register
class TensorRt(Technique):
    """Engines are built where the artifact is opened: they are code, and fit one GPU only."""

    name = "tensorrt"
    family = "runtime"
    changes = "numerics"
    claims = ("tensorrt",)
    standard = ("resnet18",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cuda":
            return f"TensorRT computes on NVIDIA GPUs only, not on {target.device}"
        return onnx_model.missing(target, PROVIDER, "pip install tensorrt")

    def apply(self, module: nn.Module, context: Context) -> OnnxModel:
        exported = export(module, context)
        return OnnxModel(exported.path, exported.interface, context.target, PROVIDER)
