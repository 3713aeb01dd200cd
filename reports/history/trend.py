"""One technique on one model over the runs of a history: its numbers, its steps, their causes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reports import formats
from reports.history import machine, steps
from reports.history.compare import RATIOS
from reports.history.index import Index, Row
from reports.plain import mapping
from reports.records import Record, RecordError

GATES = ("speed", "size", "memory", "accuracy", "fidelity")
BARS = "▁▂▃▄▅▆▇█"


@dataclass
class Point:
    """One run of a trend. marks: what changed with it, in words."""

    row: Row
    run: Record
    marks: list[str] = field(default_factory=list)
    step: float | None = None


@dataclass(frozen=True)
class Trend:
    """The runs of one cell's gate on one machine class, oldest first.

    others: runs that measured the cell on other classes. levels: (first, last) point of each level.
    """

    title: str
    machine: str
    points: list[Point]
    levels: list[tuple[int, int]]
    others: int


def trends(
    index: Index, model: str, technique: str, gate: str, batch: int | None, kind: str | None
) -> list[Trend]:
    """A trend for each target that the cell was measured on.

    kind: a machine class; by default that of the last run with the cell. RecordError where no run
    has it.
    """
    history = index.history
    assert history is not None
    rows = index.series(model, technique, history.runs, gate, batch)
    rows = [row for row in rows if row.value is not None]
    if not rows:
        size = "" if batch is None else f" at batch {batch}"
        what = f"no run measured the {gate} of {model} with {technique}{size}"
        raise RecordError(history.path, None, what, "`python -m reports show RUN` names cells")
    classes = {run: machine.class_of(header) for run, header in history.runs.items()}
    chosen = kind or classes[max(row.run for row in rows)]
    found = []
    for target in sorted({row.target for row in rows}):
        same = [row for row in rows if row.target == target]
        mine = [row for row in same if classes[row.run].startswith(chosen)]
        if not mine:
            continue
        points = [Point(row, history.runs[row.run]) for row in mine]
        title = f"{mine[0].cell} {gate}" + ("" if batch is None else f" b{batch}")
        levels = _mark(points, model)
        found.append(Trend(title, classes[mine[0].run], points, levels, len(same) - len(mine)))
    if not found:
        known = ", ".join(sorted({classes[row.run] for row in rows}))
        what = f"no run of machine class {chosen} measured it"
        raise RecordError(history.path, None, what, f"these did: {known}")
    return found


def _mark(points: list[Point], model: str) -> list[tuple[int, int]]:
    """Say at each point what changed with it; returns the levels between changes."""
    stretches = [0]
    for number in range(1, len(points)):
        before, now = points[number - 1].run, points[number].run
        software = machine.differing(machine.software(before), machine.software(now))
        if software:
            points[number].marks.append("; ".join(software))
        if _weights(before, model) != _weights(now, model):
            points[number].marks.append("baseline model changed")
            stretches.append(number)
    levels = []
    for start, end in zip(stretches, [*stretches[1:], len(points)], strict=True):
        levels += [(start + a, start + b) for a, b in _levels(points[start:end])]
    return levels


def _weights(run: Record, model: str) -> str | None:
    return mapping(mapping(run.get("models")).get(model)).get("sha256")


def _levels(points: list[Point]) -> list[tuple[int, int]]:
    """Mark the steps of points with the same baseline weights; first and last of each level."""
    values = [point.row.value for point in points]
    starts = [0]
    if points[0].row.gate in RATIOS and all(value and value > 0 for value in values):
        for step in steps.steps([math.log(value) for value in values if value]):
            points[step.at].marks.insert(0, f"step of {_percent(step.ratio)} (p {step.p:.2g})")
            points[step.at].step = step.ratio
            starts.append(step.at)
    return list(zip(starts, [*(one - 1 for one in starts[1:]), len(points) - 1], strict=True))


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "\N{MINUS SIGN}")


def sparkline(values: Sequence[float]) -> str:
    """Values as bars of text, the smallest the lowest."""
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def numbers(point: Point) -> tuple[str, str, str]:
    """A point's value with its interval, and the bare times of both sides (for the eye only)."""
    row = point.row
    record = {"gate": row.gate, "value": row.value, "low": row.low, "high": row.high}
    return (
        formats.measured(record),
        formats.seconds(row.baseline_s) if row.baseline_s else "",
        formats.seconds(row.candidate_s) if row.candidate_s else "",
    )


def lines(trend: Trend, last: int) -> Iterable[str]:
    """The trend as text: a sparkline, then a line a run (the last ones)."""
    values = [point.row.value for point in trend.points if point.row.value is not None]
    how = formats.form({"gate": trend.points[0].row.gate})
    yield f"{trend.title}, machine class {trend.machine}, {formats.count(len(values), 'run')}"
    yield f"  {sparkline(values[-100:])}  {how(min(values))} to {how(max(values))}"
    if trend.others:
        others = formats.count(trend.others, "run")
        yield f"  {others} of other machine classes left out (--machine)"
    shown = trend.points[-last:]
    if len(shown) < len(trend.points):
        yield f"  {len(trend.points) - len(shown)} earlier runs are not listed (--last)"
    table = [(point, numbers(point)) for point in shown]
    widths = [max(len(row[column]) for _, row in table) for column in range(3)]
    for point, row in table:
        cells = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        marks = "".join(f"  ← {mark}" for mark in point.marks)
        commit = str(point.run.get("commit") or "")[:10]
        yield f"  {point.row.run}  {commit:10}  {cells}{marks}".rstrip()
