"""Ways to run an artifact that an automatic search chooses from: threads, and samples in a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import optimizers.base
from optimizers import artifact, own_threads
from optimizers.auto_goal import Stages
from optimizers.base import Context, Device, Optimized, Refused
from zoo import Batch

MOST_SIZES = 6
"""OpenVINO keeps what it compiled for the last 8 shapes."""


@dataclass(frozen=True)
class Way:
    """threads: of the artifact's runtime, None for the run's. batch: samples in a call."""

    threads: int | None = None
    batch: int = 1


@dataclass(frozen=True)
class Arm:
    """A call that is measured, and how many samples it has."""

    call: Callable[[], Any]
    samples: int = 1


def sizes(most: int) -> tuple[int, ...]:
    """Batch sizes that are tried, in order: the largest and halves of it.

    >>> sizes(32)
    (1, 2, 4, 8, 16, 32)
    """
    found = [most]
    while found[-1] > 1 and len(found) < MOST_SIZES:
        found.append(found[-1] // 2)
    return tuple(reversed(found))


def accepted(sizes: Sequence[int], optimized: Optimized, stages: Stages) -> list[int]:
    """Those sizes that an artifact is tried at.

    All, the only one that it accepts, or, of what compiles for every shape anew, the largest: each
    takes as long as the first. Raises Refused where it accepts none.
    """
    if optimized.batch is not None:
        if optimized.batch not in sizes:
            told = " or ".join(map(str, sizes))
            raise Refused(f"it accepts batches of {optimized.batch} only, asked for were {told}")
        return [optimized.batch]
    return list(sizes[-1:] if optimizers.base.get(stages[-1][0]).compiles else sizes)


def opened(
    stages: Stages, optimized: Optimized, folder: Path, target: Device
) -> dict[int | None, Optimized]:
    """A trial's artifact by the threads that it may run with; as it is for those of the run."""
    fewer = own_threads.choices(stages, target)[1:]
    limited = {count: own_threads.limited(target, count) for count in fewer}
    return {None: optimized, **{n: artifact.load(folder, one) for n, one in limited.items()}}


def with_threads(stages: Stages, threads: int) -> Stages:
    """The stages, the last with so many threads."""
    *before, (name, params) = stages
    return (*before, (name, {**params, own_threads.PARAMETER: str(threads)}))


def batch(context: Context, size: int) -> Batch:
    """So many samples of the calibration split, repeated where it has fewer."""
    if size == 1:
        return context.model.example(1)
    split = context._split("calibration")
    return split.take(torch.arange(size) % len(split))


def called(artifact: Callable[..., Any], batch: Batch) -> Callable[[], Any]:
    """A call of it with these arguments."""
    args, kwargs = batch
    return lambda: artifact(*args, **kwargs)
