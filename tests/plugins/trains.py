"""Ways to train, and models to train, with a fault each: what no gate may let pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import optimizers
import zoo
from optimizers.amp import MixedPrecision
from zoo import digits
from zoo.precision import Precision
from zoo.training import Recipe, fit


@optimizers.register
class Bf16Anywhere(MixedPrecision):
    """BF16 whether or not the CPU has instructions for it."""

    name = "bf16_anywhere"
    family = "training"
    suite = "training"
    variants = ({"accumulate": "1"}, {"accumulate": "4"})
    dtype = torch.bfloat16


@optimizers.register
class Unscaled(MixedPrecision):
    """FP16 that leaves the scaler out."""

    name = "unscaled"
    family = "training"
    suite = "training"
    variants = ({"accumulate": "1"},)
    dtype = torch.float16

    def precision(self, params, target) -> Precision:
        return Precision(self.dtype, most_steps=5)


@optimizers.register
class Never(MixedPrecision):
    """Refuses every model."""

    name = "never"
    family = "training"
    suite = "training"
    variants = ({"accumulate": "1"},)
    dtype = torch.bfloat16

    def lacks(self, target) -> str | None:
        return "never trains"

    def precision(self, params, target) -> Precision:
        return Precision(self.dtype)


class Planted(zoo.Model):
    """Two layers on a few digits, for one epoch."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), self.last())

    def last(self) -> nn.Module:
        return nn.Identity()

    def split(self, name: str) -> zoo.Split:
        whole = digits.split(name)
        if name != "train":
            return whole
        args, _ = whole.take(slice(61))  # a last batch of one
        return zoo.Split(inputs=args, labels=whole.labels[:61])

    def train(self, module: nn.Module, seed: int) -> None:
        fit(module, self.split("train"), Recipe(epochs=1, rate=1e-3, batch=20), seed)


class Bursting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * float("inf"))
        return x


class LosesItself(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float("nan") if torch.is_autocast_enabled("cpu") else x


class Stubborn(nn.Module):
    """Computes in FP32 whatever is asked."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.inner(x)


@zoo.register
class Bursts(Planted):
    """Gradients are infinite at any scale."""

    name = "bursts"

    def last(self) -> nn.Module:
        return Bursting()


@zoo.register
class NanLoss(Planted):
    name = "nan_loss"

    def last(self) -> nn.Module:
        return LosesItself()


@zoo.register
class KeepsFp32(Planted):
    name = "keeps_fp32"

    def build(self) -> nn.Module:
        return Stubborn(super().build())


@zoo.register
class Normalised(Planted):
    """BatchNorm, which cannot train on one sample."""

    name = "normalised"

    def last(self) -> nn.Module:
        return nn.BatchNorm1d(10)


@zoo.register
class OwnLoop(Planted):
    """Trains by itself, where nobody chooses the precision."""

    name = "own_loop"

    def train(self, module: nn.Module, seed: int) -> None:
        optimiser = torch.optim.SGD(module.parameters(), 0.1)
        module(self.split("train").inputs[0]).square().mean().backward()
        optimiser.step()
