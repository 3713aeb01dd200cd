"""Plug-in of the proof: models that cost little to time, and real extra work of a known amount.

The weights are as they were drawn: what a process times does not depend on their values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import optimizers
import zoo
from optimizers.eager import EagerModule

SIDE = 24
"""Rows of the small matrices that make the extra work: some microseconds a product."""


class _Drawn(zoo.Model):
    """A model without training or labels; 32 random rows are all it needs."""

    shape: tuple[int, ...]

    def split(self, name: str) -> zoo.Split:
        if name != "evaluation":
            raise zoo.Unavailable("models of the proof are timed, not trained")
        generator = torch.Generator().manual_seed(0)
        return zoo.Split(inputs=(torch.randn(32, *self.shape, generator=generator),))


@zoo.register
class ProofMlp(_Drawn):
    """Three linear layers of width 512."""

    name = "proof_mlp"
    shape = (64,)

    def build(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )


class _LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 64, batch_first=True)
        self.classifier = nn.Linear(64, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.classifier(self.lstm(rows)[0][:, -1])


@zoo.register
class ProofLstm(_Drawn):
    """An LSTM of width 64 over 28 steps."""

    name = "proof_lstm"
    shape = (28, 28)

    def build(self) -> nn.Module:
        return _LastState()


@zoo.register
class ProofConv(_Drawn):
    """Three convolutions of 16 channels on 16 x 16 images."""

    name = "proof_conv"
    shape = (3, 16, 16)

    def build(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        )


class ExtraWork(nn.Module):
    """A module that multiplies small matrices before it answers as it always did."""

    def __init__(self, module: nn.Module, products: int) -> None:
        super().__init__()
        self.module = module
        self.products = products
        matrix = torch.eye(SIDE)
        self.register_buffer("matrix", matrix)

    def work(self) -> Tensor:
        product: Any = self.matrix
        for _ in range(self.products):
            product = torch.mm(product, self.matrix)
        return product

    def forward(self, *inputs: Tensor) -> Tensor:
        self.work()
        return self.module(*inputs)


@optimizers.register
class Slowed(optimizers.Technique):
    """The same answers after so many products of small matrices: a slowdown that is real."""

    name = "proof_slowed"
    family = "proof"
    claims = ()
    variants = ({"products": 1},)
    standard = ()

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return EagerModule(ExtraWork(module, context.params["products"]))

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return ExtraWork(module, params["products"])
