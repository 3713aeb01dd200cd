"""The FP32 module as an OpenVINO model."""

from __future__ import annotations

from torch import nn

from optimizers import openvino_model
from optimizers.base import Context, Device, Technique, register
from optimizers.onnx_export import check_like, export
from optimizers.openvino_model import OpenVinoModel
from zoo import Model


@register
class OpenVino(Technique):
    """Computed in FP32 because it is told so: by itself it takes bfloat16 where the CPU has it."""

    name = "openvino"
    family = "runtime"
    changes = "numerics"
    claims = ("runtime",)
    variants = ({"threads": "all"},)
    lossless = True
    standard = ("vit", "mobilenet_v3_small", "minilm")

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.dtype != "float32":
            return "openvino is told to compute in FP32: nothing would be in half precision"
        return openvino_model.missing(target)

    def apply(self, module: nn.Module, context: Context) -> OpenVinoModel:
        exported = export(module, context)
        model = openvino_model.converted(exported, context.target, "f32")
        check_like(model, exported, module, context, exact=True)
        return model
