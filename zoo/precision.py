"""How the steps of a training compute, and what they met: mixed precision for any recipe.

A model's `train()` stays as it is: whoever trains it chooses a precision around the call, and
`zoo.training.fit` takes its steps in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.steps import Step


@dataclass(frozen=True)
class Precision:
    """dtype: what autocast computes in, None for FP32. scaled: whether the loss is scaled, so that
    small FP16 gradients survive (Micikevicius et al., 2018). accumulate: parts that each batch is
    taken in, their gradients added up before the one update. most_steps: where to stop, None for
    the whole recipe.
    """

    dtype: torch.dtype | None = None
    scaled: bool = False
    accumulate: int = 1
    most_steps: int | None = None

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"accumulate = {self.accumulate}: a batch has at least one part")


@dataclass
class Trace:
    """What the steps of a training met.

    losses: one a step. taken: updates that the optimiser really made; the others were skipped.
    scale: the loss's at the end, None without scaling. layers, low: layers with weights that ran
    in the first step, and those of them that answered in the asked number format. step, batch:
    the step and what it was last called with, where `most_steps` ended the training.
    """

    losses: list[float] = field(default_factory=list)
    taken: int = 0
    scale: float | None = None
    layers: int = 0
    low: int = 0
    step: Step | None = None
    batch: tuple[Tensor, Tensor] | None = None


_chosen: ContextVar[tuple[Precision, Trace] | None] = ContextVar("precision", default=None)


@contextlib.contextmanager
def use(precision: Precision) -> Iterator[Trace]:
    """While it lasts, `zoo.training.fit` trains in this precision and tells it in the trace."""
    trace = Trace()
    token = _chosen.set((precision, trace))
    try:
        yield trace
    finally:
        _chosen.reset(token)


def current() -> tuple[Precision, Trace | None]:
    """The precision in use; FP32, and no trace, where none was chosen."""
    return _chosen.get() or (Precision(), None)
