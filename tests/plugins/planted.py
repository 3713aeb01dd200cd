"""Techniques and models with a fault each: what a gate must never let pass."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import optimizers
import zoo
from optimizers.eager import EagerModule
from zoo import digits


class Planted(optimizers.Technique):
    family = "planted"
    changes = "numerics"
    claims = ("unchanged",)

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return EagerModule(self.spoil(module))

    def spoil(self, module: nn.Module) -> nn.Module:
        return module


@optimizers.register
class Harmless(Planted):
    name = "harmless"


@optimizers.register
class Untouched(Planted):
    """Says it removed parameters and returns the module as it was."""

    name = "untouched"
    claims = ("fewer_parameters",)


@optimizers.register
class Silent(Planted):
    name = "silent"
    claims = ()


@optimizers.register
class UnknownClaim(Planted):
    name = "unknown_claim"
    claims = ("made_of_gold",)


@optimizers.register
class Segfaults(Planted):
    name = "segfaults"

    def spoil(self, module: nn.Module) -> nn.Module:
        ctypes.string_at(0)
        return module


@optimizers.register
class Hangs(Planted):
    name = "hangs"

    def spoil(self, module: nn.Module) -> nn.Module:
        time.sleep(600)
        return module


@optimizers.register
class Eats(Planted):
    name = "eats"

    def spoil(self, module: nn.Module) -> nn.Module:
        kept = []
        while True:
            kept.append(torch.ones(64 << 18))


@optimizers.register
class Raises(Planted):
    name = "raises"

    def spoil(self, module: nn.Module) -> nn.Module:
        raise ZeroDivisionError("nothing left of layer 0.weight")


@optimizers.register
class Leaves(Planted):
    name = "leaves"

    def spoil(self, module: nn.Module) -> nn.Module:
        os._exit(3)


@optimizers.register
class Refuses(Planted):
    name = "refuses"

    def spoil(self, module: nn.Module) -> nn.Module:
        raise optimizers.Refused("needs a <b>kernel</b> that is not there")


@optimizers.register
class ReturnsModule(optimizers.Technique):
    name = "returns_module"
    family = "planted"
    claims = ("unchanged",)

    def apply(self, module: nn.Module, context: optimizers.Context) -> Any:
        return module


@optimizers.register
class NanWeights(Planted):
    name = "nan_weights"

    def spoil(self, module: nn.Module) -> nn.Module:
        with torch.no_grad():
            module[2].weight[0, 0] = torch.nan
        return module


@optimizers.register
class Overflows(Planted):
    """Finite weights whose products are not."""

    name = "overflows"

    def spoil(self, module: nn.Module) -> nn.Module:
        with torch.no_grad():
            module[0].weight.fill_(3e38)
        return module


@optimizers.register
class Scaled(Planted):
    name = "scaled"

    def spoil(self, module: nn.Module) -> nn.Module:
        with torch.no_grad():
            module[4].weight[:5].neg_()
        return module


class Drifting(EagerModule):
    """Saves other weights than it computes with."""

    def save(self, directory: Path) -> None:
        with torch.no_grad():
            self.module[4].bias.add_(0.01)
        super().save(directory)


@optimizers.register
class Drifts(Planted):
    name = "drifts"

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return Drifting(module)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {os.environ.get('PLANTED_PROOF', '/nonexistent/proof')}",)


class Pickled(EagerModule):
    """Puts a pickle with code in it where its weights belong."""

    def save(self, directory: Path) -> None:
        super().save(directory)
        description = directory / "artifact.json"
        (directory / "weights.safetensors").unlink()
        torch.save({"weight": Code()}, directory / "weights.pt")
        text = description.read_text().replace("weights.safetensors", "weights.pt")
        description.write_text(text)


@optimizers.register
class CarriesCode(Planted):
    name = "carries_code"

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return Pickled(module)


class Fixed(EagerModule):
    """Takes one row only."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) != 1:
            raise RuntimeError(f"expected 1 row, got {len(x)}")
        return self.module(x)


@optimizers.register
class FixedBatch(Planted):
    name = "fixed_batch"
    variants = ({"declared": True}, {"declared": False})

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        fixed = Fixed(module)
        fixed.batch = 1 if context.params["declared"] else None
        return fixed


class Dawdling(EagerModule):
    """Does real extra work in every call."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(8):
            self.module(x)
        return self.module(x)


@optimizers.register
class Slow(Planted):
    name = "slow"

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return Dawdling(module)


class Tiring(EagerModule):
    """Does real extra work that grows with its calls, as a log does that is searched each time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[int] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(self.seen))
        self.seen.index(len(self.seen) - 1)
        return self.module(x)


@optimizers.register
class Tires(Planted):
    name = "tires"

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return Tiring(module)


@optimizers.register
class ForgetsMask(Planted):
    name = "forgets_mask"
    claims = ("zeros",)

    def spoil(self, module: nn.Module) -> nn.Module:
        torch.nn.utils.prune.l1_unstructured(module[0], "weight", 0.5)
        return module


class Odd(zoo.Model):
    """Digits through a module with a habit that makes comparing meaningless."""

    def module(self) -> nn.Module:
        raise NotImplementedError

    def build(self) -> nn.Module:
        return self.module()

    def split(self, name: str) -> zoo.Split:
        return digits.split(name)


class Noisy(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.rand(len(x), 10)


class Remembers(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x) + self.calls


class Infinite(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 0


class Edits(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.relu_().mul_(0.5))


@zoo.register
class RandomModel(Odd):
    name = "random_model"

    def module(self) -> nn.Module:
        return Noisy(64, 10)


@zoo.register
class StatefulModel(Odd):
    name = "stateful_model"

    def module(self) -> nn.Module:
        return Remembers(64, 10)


@zoo.register
class InfiniteModel(Odd):
    name = "infinite_model"

    def module(self) -> nn.Module:
        return Infinite(64, 10)


@zoo.register
class EditingModel(Odd):
    name = "editing_model"

    def module(self) -> nn.Module:
        return Edits(64, 10)
