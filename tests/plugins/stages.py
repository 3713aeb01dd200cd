"""Techniques that say no, or break, only when they are applied: what a build has to tell of."""

from __future__ import annotations

from torch import nn

import optimizers


class AtLast(optimizers.Technique):
    family = "planted"
    claims = ("unchanged",)


@optimizers.register
class RefusesLate(AtLast):
    name = "refuses_late"
    family = "planted"

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        raise optimizers.Refused("this model is too small for it")


@optimizers.register
class Breaks(AtLast):
    name = "breaks"
    family = "planted"

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        raise ValueError("no such layer")
