"""The FP32 module compiled ahead of time by torch's inductor, for fixed batch sizes."""

from __future__ import annotations

from torch import nn

from optimizers import aot_build
from optimizers.aot_package import AotPackage
from optimizers.base import Context, Device, Technique, register
from zoo import Model


@register
class AotInductor(Technique):
    """Static shapes and frozen weights.

    With a dynamic batch the compiled program lays a convolution's weights out anew in every call
    (20 times a call in a ResNet-18) and is slower than eager torch.
    """

    name = "aot_inductor"
    family = "runtime"
    changes = "numerics"
    claims = ("runtime",)
    lossless = True
    standard = ("resnet18", "vit")
    compiles = True

    def refuses(self, model: Model, target: Device) -> str | None:
        return aot_build.missing()

    def apply(self, module: nn.Module, context: Context) -> AotPackage:
        module = context.target.place(module)
        exact = context.target.dtype == "float32"
        return aot_build.build(module, module, context, aot_build.FIXED, exact)
