"""What each stage of a pipeline adds: the pipeline cut short after every stage, told by itself."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gauge.verdict import Status, Verdict
from suites import matrix, naming
from suites.engine import Stopped
from suites.matrix import Cell

if TYPE_CHECKING:
    from suites.run import Run

Measure = Callable[[Cell], float | None]


def prefixes(run: Run, cell: Cell) -> list[Cell]:
    """The cells that a pipeline passes through; none for a technique by itself."""
    return matrix.prefixes(run.catalog, cell, run.engine.device_of(cell.target))


def stages(run: Run, cell: Cell, measure: Measure, own: float | None) -> list[dict[str, Any]]:
    """{technique, value} after each stage; None with a reason where a stage cannot be told alone.

    own: the whole pipeline's value, which comes last.
    """
    found: list[dict[str, Any]] = []
    cells = prefixes(run, cell)
    if not cells:
        return []
    for one, stage in zip(cells, cell.stages, strict=False):
        entry: dict[str, Any] = {"technique": _name(run, stage)}
        try:
            entry["value"] = measure(one)
        except Stopped as stopped:
            entry |= {"value": None, "reason": str(stopped)}
        found.append(entry)
    return [*found, {"technique": _name(run, cell.stages[-1]), "value": own}]


def _name(run: Run, stage: Any) -> str:
    return naming.format_pipeline([stage], run.catalog.variants())


def score(run: Run, cell: Cell) -> float | None:
    """Mean score of a cell's reloaded artifact."""
    found = run.engine.examined(cell)["accuracy"]
    return mean(found.get("candidate"))


def mean(scores: list[float | None] | None) -> float | None:
    """The mean of per-sample scores; None without any, and where one was not finite."""
    known = [score for score in scores or () if score is not None]
    return statistics.fmean(known) if known and len(known) == len(scores or ()) else None


def size(run: Run, cell: Cell) -> float:
    """Bytes of a cell's artifact."""
    return float(sum(run.engine.artifact(cell).meta["files"].values()))


def speed(run: Run, cell: Cell, batch: int) -> float | None:
    """Speedup of a cell over FP32, from as many processes as its lane has had."""
    track = run.rounds.until(cell, batch)
    if track.stopped:
        raise track.stopped
    ratios = track.ratios(0)
    return math.exp(statistics.fmean(ratios)) if ratios else None


def explained(verdict: Verdict, found: list[dict[str, Any]], *, start: float | None) -> Verdict:
    """A failure's reason with the stage that costs most of it; other verdicts as they are.

    start: the value before any stage. Values are compared as differences where `start` is a
    score, else as ratios.
    """
    if verdict.status is not Status.FAIL or start is None:
        return verdict
    worst = _worst(verdict.gate, found, start)
    if worst is None:
        return verdict
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {worst}")


def _worst(gate: str, found: list[dict[str, Any]], start: float) -> str | None:
    """The stage after which the value is worse than before it by the most."""
    losses: dict[str, float] = {}
    before = start
    for entry in found:
        value = entry["value"]
        if value is None:
            return None
        losses[entry["technique"]] = _LOSS[gate](before, value)
        before = value
    if not losses:
        return None
    stage = max(losses, key=lambda name: losses[name])
    return _TEXT[gate].format(stage=stage, loss=losses[stage]) if losses[stage] > 0 else None


_LOSS: Mapping[str, Callable[[float, float], float]] = {
    "accuracy": lambda before, after: 100 * (before - after),
    "speed": lambda before, after: before / after - 1 if after > 0 else math.inf,
    "size": lambda before, after: after / before - 1 if before > 0 else math.inf,
}
_TEXT = {
    "accuracy": "stage {stage} loses most: {loss:.2f} points",
    "speed": "stage {stage} costs most: {loss:.0%} more time than before it",
    "size": "stage {stage} adds most: {loss:.0%} more bytes than before it",
}
