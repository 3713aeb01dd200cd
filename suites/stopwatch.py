"""What is asked of a timed pair besides its times: see gauge.shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gauge import outputs, shortcuts, targets
from suites import world as shared
from suites.world import World

ENERGY_PROCESSES = 2
"""How many of a cell's processes measure energy: a GPU's counter takes seconds."""

TIMED_TOLERANCE = 1e-3
"""What a timed answer may differ by: the reload gate is stricter, this asks whether it is one."""


def pace(world: World, base: Callable[..., Any], batch: int) -> shortcuts.Pace:
    """How long a call of the baseline takes now."""
    example = world.baseline_target.cast(world.example(batch))
    return shortcuts.pace(base, example, world.baseline_target)


def verified(world: World, candidate: Any, batch: int) -> Callable[[Any], str | None]:
    """Compares a timed answer with what the artifact answered before it was saved."""
    prefix = f"{batch}/"
    with np.load(Path(world.arguments["artifact"]) / "in_memory.npz") as stored:
        expected = {k.removeprefix(prefix): stored[k] for k in stored if k.startswith(prefix)}

    def verify(answer: Any) -> str | None:
        if not expected:
            return None  # no answer was kept at this size; other gates ask at those that were
        told = outputs.compare(expected, shared.arrays(shared.on_cpu(answer)))
        if told.within(max(candidate.tolerance, TIMED_TOLERANCE)):
            return None
        what = told.problem or f"{told.relative:.2g} of the largest output"
        return f"what the timed calls answer is not what the artifact answers: {what}"

    return verify


def shortcut(
    world: World, base: Any, candidate: Any, batch: int, found: dict[str, Any]
) -> str | None:
    """Whether the candidate is fast for a stopwatch only (see gauge.shortcuts)."""
    usual, others = world.example(batch), world.others(batch)
    target = world.target if world.arguments["artifact"] else world.baseline_target

    def side(call: Any, place: targets.Target, arm: str) -> shortcuts.Side:
        given = [place.cast(one) for one in others]
        return shortcuts.Side(call, place.cast(usual), given, min(found[f"{arm}_samples"]))

    before = side(base, world.baseline_target, "baseline")
    return shortcuts.unread(before, side(candidate, target, "candidate"), target)
