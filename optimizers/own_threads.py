"""Fewer threads than the run has, for artifacts of runtimes that keep threads of their own.

A technique that can do so has a last parameter `threads`, "all" (those of the run) or a number:
`onnxruntime:2`. torch's number of threads is one for the process, the baseline's arm included, and
so is ExecuTorch's: what runs in them has no such parameter.
"""

from __future__ import annotations

import copy
from typing import Any

import optimizers.base
from optimizers.artifact import ArtifactError
from optimizers.base import Context, Device, Refused

PARAMETER, ALL = "threads", "all"


def asked(context: Context) -> int | None:
    """At most how many threads the technique's parameter allows; None for those of the run.

    Raises ValueError for what is no number, and Refused where the run has fewer, or its device is
    not the CPU.
    """
    word = str(context.params.get(PARAMETER, ALL))
    if word == ALL:
        return None
    if not word.isdecimal() or int(word) < 1:
        raise ValueError(f"{PARAMETER} must be {ALL} or a whole number from 1 up, found {word}")
    target = context.target
    if target.device != "cpu":
        raise Refused(f"{PARAMETER} are the CPU's, and {target.name} computes on {target.device}")
    if int(word) > target.threads:
        raise Refused(f"{word} threads are asked for, and the run has --threads {target.threads}")
    return int(word)


def described(data: dict[str, Any]) -> int | None:
    """What an artifact's description says of its threads; ArtifactError for no such number."""
    found = data.get(PARAMETER)
    if found is not None and not (type(found) is int and found >= 1):
        raise ArtifactError(f"an artifact with {PARAMETER} {found!r}: a whole number from 1 up")
    return found


def used(threads: int | None, target: Device) -> int:
    """How many run: never more than the process has."""
    return target.threads if threads is None else min(threads, target.threads)


def choices(stages: Any, target: Device) -> list[int]:
    """Numbers of threads that a pipeline may run with: the run's, and halves of it down to 1.

    The run's alone where the pipeline's last stage has no threads of its own, or states them.
    """
    name, params = list(stages)[-1]
    declared = next(iter(optimizers.base.get(name).variants), {})
    found = [target.threads]
    if target.device == "cpu" and declared.get(PARAMETER) == params.get(PARAMETER) == ALL:
        while found[-1] > 1:
            found.append(found[-1] // 2)
    return found


def limited(target: Device, threads: int | None) -> Device:
    """The target with so many threads for the artifacts that are opened on it."""
    if threads is None:
        return target
    found: Any = copy.copy(target)
    found.threads = threads
    return found
