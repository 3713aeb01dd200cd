"""No optimisation: the baseline, and what half precision alone does to it."""

from __future__ import annotations

from torch import nn

from optimizers.base import Context, Device, Technique, register
from optimizers.eager import EagerModule


@register
class Untouched(Technique):
    """On FP32 targets the baseline against itself; on half targets the number format by itself."""

    name = "none"
    family = "baseline"
    changes = "numerics"
    claims = ("unchanged",)
    lossless = True

    def claims_for(self, target: Device) -> tuple[str, ...]:
        return self.claims if target.dtype == "float32" else ("half",)

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        return EagerModule(module)
