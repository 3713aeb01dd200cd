"""The FP32 (or, on a GPU, half) module as an ONNX file run by onnxruntime."""

from __future__ import annotations

from torch import nn

from optimizers import onnx_model
from optimizers.base import Context, Device, Technique, register
from optimizers.onnx_export import export
from optimizers.onnx_model import OnnxModel
from zoo import Model


@register
class OnnxRuntime(Technique):
    name = "onnxruntime"
    family = "runtime"
    changes = "numerics"
    claims = ("runtime",)
    variants = ({"threads": "all"},)
    lossless = True

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device == "cpu" and target.dtype != "float32":
            return (
                "onnxruntime computes half on the CPU through FP32: "
                "nothing would be in half precision"
            )
        return onnx_model.missing(target)

    def apply(self, module: nn.Module, context: Context) -> OnnxModel:
        return export(module, context)
