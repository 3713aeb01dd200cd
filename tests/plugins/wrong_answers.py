"""Candidates that really answer worse, by a share that is told: what the accuracy gate must see."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import optimizers
from optimizers.eager import EagerModule


class Wrong(nn.Module):
    """Gives the second best answer to a share of the inputs, picked by what is in them.

    The same inputs are picked whatever the batch: the choice is a number between 0 and 1 made from
    the row alone. salt: another choice of inputs.
    """

    def __init__(self, inner: nn.Module, share: float, salt: int) -> None:
        super().__init__()
        self.inner, self.share, self.salt = inner, share, salt

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.inner(x)
        rows = x.flatten(1).double()
        weights = torch.sin(torch.arange(1, rows.shape[1] + 1).double() * (self.salt + 1.5))
        # Rounded, so that the order in which a sum is taken does not matter.
        picked = ((rows * weights).sum(1) * 1e4).round() * 0.6180339887498949 % 1 < self.share
        top = logits.topk(2).indices
        swapped = logits.scatter(1, top, logits.gather(1, top.flip(1)))
        return torch.where(picked[:, None], swapped, logits)


@optimizers.register
class WrongAnswers(optimizers.Technique):
    name = "wrong_answers"
    family = "planted"
    changes = "numerics"
    claims = ("unchanged",)
    variants = ({"share": 0.01, "salt": 0},)

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return EagerModule(self.rebuild(module, context.params, {}))

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return Wrong(module, params["share"], int(params["salt"]))


class Strangers(nn.Module):
    """Scales its answers by the largest in the batch, and with it decides a threshold's side."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.inner(x)
        step = logits.abs().max() / 4
        return (logits / step).round() * step


@optimizers.register
class DependsOnBatch(WrongAnswers):
    """One scale over the whole batch, as dynamic int8 has it, coarse enough to change answers."""

    name = "depends_on_batch"
    variants = ({},)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return Strangers(module)


@optimizers.register
class Subnormal(WrongAnswers):
    """A tenth of the first layer's weights too small for FP32's normal numbers."""

    name = "subnormal"
    variants = ({},)

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        with torch.no_grad():
            weight = module[0].weight.view(-1)
            smallest = weight.abs().argsort()[: weight.numel() // 10]
            weight[smallest] = 1e-39
        return EagerModule(module)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return module


class Blind(Wrong):
    """Never answers with one class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.inner(x).clone()
        logits[:, 7] = logits.min(1).values - 1
        return logits


@optimizers.register
class LosesAClass(WrongAnswers):
    name = "loses_a_class"
    variants = ({},)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return Blind(module, 0.0, 0)
