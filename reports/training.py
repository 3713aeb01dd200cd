"""What a cell's trainings tell: steps a second, steps skipped, scores by seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reports import formats
from reports.cells import Cell
from reports.plain import listing, mapping, number

_ARMS = ("baseline", "candidate")


@dataclass(frozen=True)
class Row:
    """One way to train a model, in words: against FP32's, with what each number decides by."""

    cell: Cell
    rates: str
    speed: str
    memory: str
    drop: str
    taken: str


def rows(cells: Iterable[Cell]) -> list[Row]:
    """A row for each cell that tells how a model trains."""
    return [
        Row(
            cell,
            " → ".join(map(_rate, told)) if (told := _rates(cell)) else formats.ABSENT,
            _measured(cell, "training_speed"),
            _measured(cell, "training_memory"),
            formats.drop(cell.gate("training_accuracy")),
            _taken(cell),
        )
        for cell in cells
        if cell.trains
    ]


def _measured(cell: Cell, gate: str) -> str:
    return formats.measured(cell.gate(gate) or {"gate": gate, "value": None})


def _taken(cell: Cell) -> str:
    """Updates made of those tried, over all seeds, and the smallest last scale of the loss."""
    runs = [mapping(run) for run in listing(evidence(cell, "training_steps").get("runs"))]
    counts = [(number(run.get("taken")), number(run.get("attempted"))) for run in runs]
    known = [(taken, of) for taken, of in counts if taken is not None and of is not None]
    if not known:
        return formats.ABSENT
    taken, of = (formats.whole(int(sum(column))) for column in zip(*known, strict=True))
    scales = [scale for run in runs if (scale := number(run.get("scale"))) is not None]
    return f"{taken} of {of}" + (f", scale {min(scales):g}" if scales else "")


def training_lines(cell: Cell) -> list[str]:
    """The trainings in words, one line a fact."""
    return [*_steps(cell), *_speed(cell), *_scores(cell)]


def evidence(cell: Cell, gate: str) -> dict[str, Any]:
    """What a gate's verdict holds as evidence; empty where there is none."""
    return mapping(mapping(cell.gate(gate)).get("evidence"))


def _steps(cell: Cell) -> list[str]:
    lines = []
    for run in map(mapping, listing(evidence(cell, "training_steps").get("runs"))):
        attempted, taken = number(run.get("attempted")), number(run.get("taken"))
        if attempted is None or taken is None:
            continue
        line = f"seed {run.get('seed')}: {taken:g} of {attempted:g} steps taken"
        settling = number(run.get("settling")) or 0
        line += f", {attempted - taken - settling:g} skipped"
        line += f" and {settling:g} before the first" if settling else ""
        line += f", {run.get('nonfinite_losses')} non-finite losses"
        line += f", {run.get('low')} of {run.get('layers')} layers in {run.get('dtype')}"
        if (scale := number(run.get("scale"))) is not None:
            line += f", final scale {scale:g}"
        lines.append(line)
    return lines


def _rates(cell: Cell) -> tuple[float, float] | None:
    """Steps a second of FP32 training and of this, or None where they were not timed."""
    told = mapping(evidence(cell, "training_speed").get("steps_per_second"))
    before, after = (number(told.get(arm)) for arm in _ARMS)
    return None if before is None or after is None else (before, after)


def _rate(value: float) -> str:
    return f"{value:.3g}" if value < 100 else formats.whole(round(value))


def _speed(cell: Cell) -> list[str]:
    rates = _rates(cell)
    if rates is None:
        return []
    size = number(evidence(cell, "training_speed").get("samples_a_step"))
    of = "" if size is None else f" of {formats.count(int(size), 'sample')}"
    return [f"FP32 {_rate(rates[0])} → {_rate(rates[1])} steps{of} a second"]


def _scores(cell: Cell) -> list[str]:
    scores = mapping(evidence(cell, "training_accuracy").get("scores"))
    pairs = zip(listing(scores.get("baseline")), listing(scores.get("candidate")), strict=False)
    told = [f"{formats.PERCENT(number(a))} → {formats.PERCENT(number(b))}" for a, b in pairs]
    return [f"score by seed: {', '.join(told)}"] if told else []
