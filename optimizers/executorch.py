"""The FP32 module as an ExecuTorch program, its layers computed by XNNPACK."""

from __future__ import annotations

from torch import nn

from optimizers import executorch_build, executorch_model
from optimizers.base import Context, Device, Technique, register
from optimizers.executorch_model import ExecuTorchModel
from zoo import Model


@register
class ExecuTorch(Technique):
    """What phones and boards run: no Python and no torch there; here by its Python runtime."""

    name = "executorch"
    family = "runtime"
    changes = "numerics"
    claims = ("runtime",)
    lossless = True
    standard = ("mobilenet_v3_small",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.dtype != "float32":
            return "the program computes in FP32: nothing would be in half precision"
        return executorch_model.missing(target)

    def apply(self, module: nn.Module, context: Context) -> ExecuTorchModel:
        return executorch_build.build(module.eval(), module, context, exact=True)
