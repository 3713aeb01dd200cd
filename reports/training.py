"""What a cell's trainings tell: steps a second, steps skipped, scores by seed, loss curves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports import formats, svg
from reports.cells import Cell
from reports.charts import COLOURS, finish
from reports.plain import listing, mapping, number

_ARMS = (("baseline", "FP32", COLOURS[None]), ("candidate", "mixed", COLOURS["A"]))


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
    runs = [mapping(run) for run in listing(_evidence(cell, "training_steps").get("runs"))]
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


def _evidence(cell: Cell, gate: str) -> dict[str, Any]:
    return mapping(mapping(cell.gate(gate)).get("evidence"))


def _steps(cell: Cell) -> list[str]:
    lines = []
    for run in map(mapping, listing(_evidence(cell, "training_steps").get("runs"))):
        attempted, taken = number(run.get("attempted")), number(run.get("taken"))
        if attempted is None or taken is None:
            continue
        line = f"seed {run.get('seed')}: {taken:g} of {attempted:g} steps taken"
        line += f", {attempted - taken:g} skipped, {run.get('nonfinite_losses')} non-finite losses"
        line += f", {run.get('low')} of {run.get('layers')} layers in {run.get('dtype')}"
        if (scale := number(run.get("scale"))) is not None:
            line += f", final scale {scale:g}"
        lines.append(line)
    return lines


def _rates(cell: Cell) -> tuple[float, float] | None:
    """Steps a second of FP32 training and of this, or None where they were not timed."""
    told = mapping(_evidence(cell, "training_speed").get("steps_per_second"))
    before, after = (number(told.get(arm)) for arm, _, _ in _ARMS)
    return None if before is None or after is None else (before, after)


def _rate(value: float) -> str:
    return f"{value:.3g}" if value < 100 else formats.whole(round(value))


def _speed(cell: Cell) -> list[str]:
    rates = _rates(cell)
    if rates is None:
        return []
    size = number(_evidence(cell, "training_speed").get("samples_a_step"))
    of = "" if size is None else f" of {formats.count(int(size), 'sample')}"
    return [f"FP32 {_rate(rates[0])} → {_rate(rates[1])} steps{of} a second"]


def _scores(cell: Cell) -> list[str]:
    evidence = _evidence(cell, "training_accuracy")
    scores = mapping(evidence.get("scores"))
    pairs = zip(listing(scores.get("baseline")), listing(scores.get("candidate")), strict=False)
    told = [f"{formats.PERCENT(number(a))} → {formats.PERCENT(number(b))}" for a, b in pairs]
    return [f"score by seed: {', '.join(told)}"] if told else []


def curves(cell: Cell) -> Markup:
    """Loss against steps of both sides, a line a seed, as SVG; empty without trainings."""
    found = [mapping(one) for one in listing(_evidence(cell, "training_steps").get("curves"))]
    lines = [
        (points, name, colour)
        for one in found
        for arm, name, colour in _ARMS
        if len(points := _points(one.get(arm))) > 1
    ]
    if not lines:
        return Markup()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3, 2.4), dpi=72)
    figure.subplots_adjust(left=0.15, right=0.98, top=0.96, bottom=0.2)
    ax = figure.add_subplot()
    for points, name, colour in lines:
        ax.plot(*zip(*points, strict=True), color=colour, lw=1.2, alpha=0.8, label=name)
    ax.set_yscale("log")
    ax.minorticks_off()
    ax.set_xlabel("step", fontsize=10, color=svg.INK)
    ax.set_ylabel("loss", fontsize=10, color=svg.INK)
    ax.patch.set_visible(False)
    figure.patch.set_visible(False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=svg.INK, alpha=0.4)
    ax.tick_params(colors=svg.INK, labelsize=9, length=3)
    handles, names = ax.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    ax.legend(once.values(), once.keys(), frameon=False, fontsize=9, labelcolor=svg.INK)
    text = f"Training loss against steps, {formats.count(len(found), 'seed')}: FP32 grey."
    title = f"Training of {cell.name}"
    return Markup(finish(figure, f"{cell.anchor}-curves", title, text, {}))


def _points(value: Any) -> list[tuple[float, float]]:
    """The finite points above 0, which a logarithmic axis can hold."""
    pairs = [(number(one[0]), number(one[1])) for one in listing(value) if len(one) == 2]
    return [(x, y) for x, y in pairs if x is not None and y is not None and y > 0]
