"""A reopened artifact beside what it answered before it was saved, and what makes that moot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from gauge import outputs
from gauge.baseline_checks import find_problems
from gauge.opened import Opened
from suites import world as shared
from suites.world import World

LEAST_APART, MOST_APART = 1e-3, 0.5
"""Bounds on how far a row's answers may be apart between batch sizes, as a share of the largest."""


def compare(world: World, candidate: Any, files: Opened) -> dict[str, Any]:
    """Largest relative difference to the in-memory outputs, by batch size; what makes it moot."""
    differences: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    answers: dict[int, dict[str, np.ndarray]] = {}
    with np.load(Path(world.arguments["artifact"]) / "in_memory.npz") as stored:
        for batch in world.arguments["batches"]:
            prefix = f"{batch}/"
            before = {k.removeprefix(prefix): stored[k] for k in stored if k.startswith(prefix)}
            try:
                after = shared.arrays(shared.run_example(world, candidate, batch))
            except Exception as error:  # noqa: BLE001 - a refused batch size is a finding
                errors[str(batch)] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            answers[batch] = after
            if before:
                found = outputs.compare(before, after)
                differences[str(batch)] = None if found.problem else found.relative
                if found.problem:
                    errors[str(batch)] = found.problem
    few = [one for one in answers if one <= shared.CHECKED_BATCH] or list(answers)
    size = max(few, default=None)
    batch = world.target.cast(world.example(size)) if size else None
    return {
        "batches": differences,
        "errors": errors,
        "habits": find_problems(candidate, batch) if batch else [],
        "foreign": _foreign(world, files),
        "rows": _rows(world, answers),
    }


def _foreign(world: World, files: Opened) -> dict[str, int]:
    """Bytes of the files that the artifact needed and does not hold, by path.

    What the baseline's own artifact needs (a model's list of words, say) is no concern of it.
    """
    found = files.foreign
    if not found:
        return {}
    own = Opened([Path(world.arguments["weights"]), *world.own_folders()])
    with own:
        world.baseline()
    return {name: size for name, size in found.items() if name not in own.foreign}


def _rows(world: World, answers: dict[int, dict[str, np.ndarray]]) -> dict[str, Any]:
    """How far the same rows' answers are apart between batch sizes, and how far they may be.

    Ranges found while running depend on what shares the batch: the answers may be as far apart as
    those of the largest size are from FP32's, thrice.
    """
    largest = max(answers, default=0)
    examples = {size: _tensors(world.example(size)) for size in answers}
    known, found = answers.get(largest, {}), {}
    for size, after in answers.items():
        same = all(
            torch.equal(one, whole[:size])
            for one, whole in zip(examples[size], examples[largest], strict=True)
        )
        by_row = all(len(one) == size for one in after.values() if one.ndim)
        if size == largest or not (same and by_row):
            continue
        told = outputs.compare({path: one[:size] for path, one in known.items()}, after)
        found[str(size)] = told.relative if told.problem is None else None
    if not found:
        return {}
    allowed = LEAST_APART
    if any(apart is None or apart > allowed for apart in found.values()):
        base = shared.apply_to(world.baseline(), world.baseline_target, world.example(largest))
        noise = outputs.compare(shared.arrays(shared.on_cpu(base)), known).relative
        allowed = min(MOST_APART, max(allowed, 3 * noise))
    return {"of": largest, "apart": found, "allowed": allowed}


def _tensors(batch: zoo.Batch) -> list[torch.Tensor]:
    args, kwargs = batch
    return [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
