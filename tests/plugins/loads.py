"""Techniques that answer well one by one and do wrong under a load."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from torch import nn

import optimizers
from optimizers.eager import EagerModule

CALLS = 200
"""More than a server takes to get ready, fewer than any load."""


class Counting(EagerModule):
    """Does something else after so many calls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.module(x) if self.calls <= CALLS else self.tired(x)

    def tired(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Loaded(optimizers.Technique):
    family = "planted"
    claims = ("unchanged",)
    made: type[Counting]

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return self.made(module)


class Dying(Counting):
    def tired(self, x: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGSEGV)
        return x


class Guessing(Counting):
    """The fastest answer there is: always the same."""

    def tired(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), 10)


class Raising(Counting):
    def tired(self, x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("nothing left to answer with")


@optimizers.register
class Dies(Loaded):
    name = "dies"
    made = Dying


@optimizers.register
class Guesses(Loaded):
    name = "guesses"
    made = Guessing


@optimizers.register
class Gives(Loaded):
    name = "gives_up"
    made = Raising
