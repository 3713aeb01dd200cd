"""What plug-ins with planted faults share: every fault has a switch, and a seed places it.

A technique's parameters are `fault` (on or off) and `seed` (which layer, sample, size), so that
`scaled_layer:true:7` and `scaled_layer:false:7` differ in the fault alone.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

import optimizers
from optimizers.eager import EagerModule

LAYERS = (nn.Linear, nn.Conv2d)


def layers(module: nn.Module) -> list[nn.Module]:
    """Layers with a weight matrix, in order."""
    return [one for one in module.modules() if isinstance(one, LAYERS)]


def zero_smallest(module: nn.Module, share: float = 0.1) -> None:
    """What a harmless technique does: zero the smallest weights of every layer."""
    for layer in layers(module):
        weight = layer.weight.data
        level = weight.abs().flatten().kthvalue(max(1, int(share * weight.numel()))).values
        weight[weight.abs() <= level] = 0.0


class Fault(optimizers.Technique):
    """Applies `improve`, then `damage` where the fault is on."""

    result = EagerModule

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        torch.manual_seed(context.params["seed"])
        module = self.improve(module, context)
        if context.params["fault"]:
            changed = self.damage(module, random.Random(context.params["seed"]), context)
            module = changed if changed is not None else module
        return self.result(module)

    def improve(self, module: nn.Module, context: optimizers.Context) -> nn.Module:
        zero_smallest(module)
        return module

    def damage(
        self, module: nn.Module, draw: random.Random, context: optimizers.Context
    ) -> nn.Module | None:
        return None


class Habit(EagerModule):
    """Answers as its module does, unless the fault is on: then as `misbehave` does."""

    @property
    def faulty(self) -> bool:
        return bool(self.stages[-1]["params"]["fault"])

    @property
    def draw(self) -> random.Random:
        """The same random numbers in every process."""
        return random.Random(self.stages[-1]["params"]["seed"])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.faulty:
            return self.module(*args, **kwargs)
        return self.misbehave(*args, **kwargs)

    def misbehave(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def rows_like(x: Tensor, kept: Tensor) -> Tensor:
    """Which rows of `x` equal `kept`, bool [n]."""
    return (x == kept).flatten(1).all(1)
