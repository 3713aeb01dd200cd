"""Units that are removed by hand: rows and columns of several weights that belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from optimizers.slim_notes import like


class Group(Protocol):
    """Channels that can only go together: of several layers, one index through all of them."""

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def grain(self) -> int:
        """How many channels a unit holds (an attention head's width); others have 1."""
        ...

    def score(self, importance: str) -> Tensor:
        """float [width]: what each unit is worth; "taylor" reads the gradients."""
        ...

    def remove(self, units: Tensor) -> None:
        """Take the units (int64 [k]) out of every layer of the group."""
        ...


@dataclass(frozen=True)
class Member:
    """One dimension of one parameter that runs over the units, `repeats` times over all of them.

    A gate of an LSTM is such a repeat; `grain` neighbours make a unit (the width of a head).
    reads: it takes the units' outputs in, so that zeros here switch a unit off.
    """

    layer: nn.Module
    name: str
    dim: int
    grain: int = 1
    repeats: int = 1
    reads: bool = False

    @property
    def tensor(self) -> Tensor:
        found: Tensor = getattr(self.layer, self.name)
        return found

    def width(self) -> int:
        """How many units the dimension holds; ValueError when it holds no whole number."""
        size = self.tensor.shape[self.dim]
        if size % (self.grain * self.repeats):
            raise ValueError(f"{self.name} of size {size} does not hold {self.repeats} repeats")
        return size // (self.grain * self.repeats)

    def by_unit(self, values: Tensor) -> Tensor:
        """float [width, everything else] of a tensor shaped like the parameter."""
        first = values.movedim(self.dim, 0)
        split = first.reshape(self.repeats, self.width(), self.grain, -1)
        return split.transpose(0, 1).flatten(1)

    def positions(self, units: Tensor) -> Tensor:
        """Where along the dimension these units lie."""
        width = self.width()
        repeat = torch.arange(self.repeats)[:, None, None] * width * self.grain
        return (repeat + units[None, :, None] * self.grain + torch.arange(self.grain)).flatten()


@dataclass
class Units:
    """A group of members. `numbers`: (layer, attribute, grain) to be lowered with the width."""

    name: str
    members: list[Member]
    numbers: list[tuple[nn.Module, str, int]] = field(default_factory=list)

    @property
    def width(self) -> int:
        return self.members[0].width()

    @property
    def grain(self) -> int:
        return self.members[0].grain

    def score(self, importance: str) -> Tensor:
        """Magnitude: the norm of all its weights. Taylor: the loss it moves, to first order."""
        if importance == "taylor":
            return self._sum(lambda one: one.detach() * _gradient(one)).abs()
        return self._sum(lambda one: one.detach().square()).sqrt()

    def _sum(self, values: Callable[[Tensor], Tensor]) -> Tensor:
        parts = [one.by_unit(values(one.tensor)).sum(1) for one in self.members]
        return torch.stack(parts).sum(0)

    def remove(self, units: Tensor) -> None:
        for one in self.members:
            stays = torch.ones(one.tensor.shape[one.dim], dtype=torch.bool)
            stays[one.positions(units)] = False
            left = one.tensor.detach().index_select(one.dim, stays.nonzero().flatten())
            setattr(one.layer, one.name, like(one.tensor, left))
        for layer, name, grain in self.numbers:
            setattr(layer, name, getattr(layer, name) - grain * len(units))

    def switch_off(self, units: Tensor) -> None:
        """Nothing reads the units any more: what `remove` computes, in the old shapes."""
        for one in self.members:
            if one.reads:
                with torch.no_grad():
                    one.tensor.index_fill_(one.dim, one.positions(units), 0.0)


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError("Taylor importance needs a gradient of every weight")
    return parameter.grad


def neurons(name: str, first: nn.Linear, second: nn.Linear) -> Units:
    """The neurons between two linear layers."""
    return Units(
        name,
        [
            *rows(first),
            Member(second, "weight", 1, reads=True),
        ],
        [(first, "out_features", 1), (second, "in_features", 1)],
    )


def rows(layer: nn.Linear, grain: int = 1) -> list[Member]:
    """The outputs of a linear layer."""
    names = ["weight", "bias"] if layer.bias is not None else ["weight"]
    return [Member(layer, name, 0, grain) for name in names]
