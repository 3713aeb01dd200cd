"""Accuracy drop against speedup, drawn with matplotlib as SVG that needs neither CSS nor scripts.

One small plot a model and target, all with the same axes; beyond MOST_PLOTS of them one plot for
all, in which cells that would cover each other share a mark.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reports import formats, svg
from reports.cells import Cell
from reports.summarize import Summary

MOST_PLOTS = 12

MARKS = {"A": "o", "B": "s", "C": "^", None: "D"}
# Mid-tones: 3:1 or more against the light and the dark page, so no style is needed for either.
COLOURS = {"A": "#3a7bd5", "B": "#c2640a", "C": "#9b5fd0", None: "#7a828c"}

_TICKS_X = [base * 10.0**power for power in range(-4, 5) for base in (1, 2, 5)]
_TICKS_Y = [-100, -50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100]
_LINEAR = 2.0  # points of drop up to which the axis is linear, logarithmic beyond


@dataclass(frozen=True)
class Point:
    """A cell on the plot: speedup and drop (in points) with their intervals."""

    cell: Cell
    speed: tuple[float, float, float]
    drop: tuple[float, float, float]

    @property
    def hollow(self) -> bool:
        return not self.cell.keeps_accuracy

    @property
    def text(self) -> str:
        numbers = [
            formats.measured(verdict)
            for gate in ("speed", "accuracy")
            if (verdict := self.cell.gate(gate))
        ]
        return f"{self.cell.name}: {', drop '.join(numbers)}"


@dataclass(frozen=True)
class Plot:
    """One SVG with its heading, and a sentence that says what it shows.

    everything: all models and targets in one plot, without intervals and fronts.
    """

    title: str
    svg: str
    text: str
    everything: bool = False


@dataclass(frozen=True)
class Axes:
    """Ranges that all plots share."""

    x: tuple[float, float]
    y: tuple[float, float]


def points(cells: Iterable[Cell]) -> list[Point]:
    """The cells that have both a speedup and a drop that a plot can hold."""
    found = []
    for cell in cells:
        speed = _triple(cell, "speed", 1.0)
        drop = _triple(cell, "accuracy", 100.0)
        if speed and drop and _drawable(speed, drop):
            found.append(Point(cell, speed, drop))
    return found


def _drawable(speed: tuple[float, ...], drop: tuple[float, ...]) -> bool:
    """Whether the numbers are of this world: a broken clock must not squash all other cells."""
    return all(1e-4 <= number <= 1e5 for number in speed) and all(abs(d) <= 1e4 for d in drop)


def _triple(cell: Cell, gate: str, scale: float) -> tuple[float, float, float] | None:
    verdict = cell.gate(gate)
    if verdict is None or verdict.get("value") is None:
        return None
    value = verdict["value"]
    low, high = (value if verdict.get(side) is None else verdict[side] for side in ("low", "high"))
    return low * scale, value * scale, high * scale


def plots(summary: Summary) -> list[Plot]:
    """The plots of a run: one a model and target with two cells or more, or one for all."""
    found = points(summary.cells)
    if not found:
        return []
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in found:
        groups.setdefault((point.cell.model, point.cell.target), []).append(point)
    shown = {key: group for key, group in groups.items() if len(group) > 1}
    axes = _axes(found)
    if len(shown) > MOST_PLOTS or not shown:
        return [_all(found, axes, summary)]
    chosen = {pick.cell.key for pick in summary.picks if pick.cell}
    return [
        _one(f"plot{number}", " · ".join(key), group, axes, summary, chosen)
        for number, (key, group) in enumerate(shown.items(), start=1)
    ]


def _axes(found: list[Point]) -> Axes:
    speeds = [point.speed[1] for point in found]
    drops = [point.drop[1] for point in found]
    return Axes(
        (min(0.8, min(speeds) * 0.8), max(1.6, max(speeds) * 1.35)),
        (min(-1.0, min(drops) - 0.5), max(2.5, max(drops) * 1.4)),
    )


def _limits(found: Iterable[Point]) -> tuple[float | None, float | None]:
    """The commonest limits of the points: least speedup, largest drop in points."""
    found = list(found)
    speed = _commonest(point.cell.gate("speed") for point in found)
    drop = _commonest(point.cell.gate("accuracy") for point in found)
    return speed, None if drop is None else drop * 100


def _commonest(verdicts: Iterable[Any]) -> float | None:
    asked = Counter(formats.threshold(verdict) for verdict in verdicts)
    del asked[None]
    return min(asked, key=lambda limit: (-asked[limit], limit or 0.0), default=None)


def _one(
    prefix: str, title: str, found: list[Point], axes: Axes, summary: Summary, chosen: set[Any]
) -> Plot:
    figure, ax = _canvas(axes, _limits(found), (4.3, 3.0))
    titles: dict[str, str] = {}
    for class_, group in _by_class(found):
        colour = COLOURS[class_]
        front = sorted((p.speed[1], p.drop[1]) for p in group if p.cell.key in summary.pareto)
        ax.plot(
            [x for x, _ in front], [y for _, y in front], color=colour, lw=1.5, ls=":", zorder=2
        )
        for point in group:
            name = f"{prefix}-{len(titles)}"
            titles[name] = point.text
            low, value, high = point.speed
            least, drop, most = point.drop
            ax.plot([low, high], [drop, drop], color=colour, lw=1, alpha=0.6, zorder=2.5)
            ax.plot([value, value], [least, most], color=colour, lw=1, alpha=0.6, zorder=2.5)
            _mark(ax, [value], [drop], class_, point.hollow, gid=name)
            if point.cell.key in chosen:
                ax.plot([value], [drop], ls="", marker="o", ms=13, mew=1, mec=svg.INK, mfc="none")
    kept = sum(not point.hollow for point in found)
    text = (
        f"{formats.count(len(found), 'cell')}, {kept} of them keep the accuracy; "
        f"speedups {formats.FACTOR(min(p.speed[1] for p in found))} to "
        f"{formats.FACTOR(max(p.speed[1] for p in found))}."
    )
    return Plot(title, draw(figure, prefix, f"Drop and speedup of {title}", text, titles), text)


def _all(found: list[Point], axes: Axes, summary: Summary) -> Plot:
    figure, ax = _canvas(axes, _limits(found), (8.6, 4.6))
    marks: dict[tuple[Any, ...], list[Point]] = {}
    for point in found:
        column = round(math.log(point.speed[1] / axes.x[0]) / math.log(axes.x[1] / axes.x[0]) * 110)
        row = round(_bent(point.drop[1]) * 12)
        marks.setdefault((point.cell.class_, point.hollow, column, row), []).append(point)
    drawn: dict[tuple[str | None, bool], list[Point]] = {}
    for (class_, hollow, _, _), group in marks.items():
        drawn.setdefault((class_, hollow), []).append(group[0])
    for (class_, hollow), group in sorted(drawn.items(), key=lambda item: str(item[0])):
        _mark(ax, [p.speed[1] for p in group], [p.drop[1] for p in group], class_, hollow)
    text = (
        f"{formats.count(len(found), 'cell')} drawn as {formats.count(len(marks), 'mark')}: "
        "cells that would cover each other share one, and intervals are left out."
    )
    return Plot("All models and targets", draw(figure, "plot", "Drop and speedup", text, {}), text)


def _by_class(found: list[Point]) -> list[tuple[str | None, list[Point]]]:
    groups: dict[str | None, list[Point]] = {}
    for point in found:
        groups.setdefault(point.cell.class_, []).append(point)
    return sorted(groups.items(), key=lambda item: item[0] or "~")


def _bent(drop: float) -> float:
    """The drop as the axis shows it: linear near zero, logarithmic beyond."""
    size = abs(drop)
    bent = size if size <= _LINEAR else _LINEAR * (1 + math.log10(size / _LINEAR))
    return math.copysign(bent, drop)


def _canvas(axes: Axes, limits: tuple[float | None, float | None], inches: tuple[float, float]):
    # Figure without pyplot: no global state, no window system, half the import time.
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=72)
    figure.subplots_adjust(left=0.13, right=0.98, top=0.97, bottom=0.17)
    ax = figure.add_subplot()
    ax.set_xscale("log")
    ax.set_yscale("symlog", linthresh=_LINEAR, linscale=1)
    ax.set_xlim(*axes.x)
    ax.set_ylim(axes.y[1], axes.y[0])
    _ticks(ax, axes)
    dress(ax, "speedup over eager FP32", "accuracy drop, points")
    speed, drop = (
        bound if _within(bound, span) else None
        for bound, span in zip(limits, (axes.x, axes.y), strict=True)
    )
    if speed is not None:
        ax.axvline(speed, color=svg.INK, lw=1, ls="--", alpha=0.6, zorder=1)
    if drop is not None:
        ax.axhline(drop, color=svg.INK, lw=1, ls="--", alpha=0.6, zorder=1)
    if speed is not None and drop is not None:
        ax.fill_between([speed, axes.x[1]], drop, axes.y[0], color=svg.INK, alpha=0.06, lw=0)
    return figure, ax


def dress(ax: Any, x: str, y: str) -> None:
    """Axes without a box, in the page's ink; x, y: what they are called."""
    ax.set_xlabel(x, fontsize=10, color=svg.INK)
    ax.set_ylabel(y, fontsize=10, color=svg.INK)
    ax.tick_params(colors=svg.INK, labelsize=9, length=3)
    ax.patch.set_visible(False)
    ax.figure.patch.set_visible(False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=svg.INK, alpha=0.4)


def _within(bound: float | None, span: tuple[float, float]) -> bool:
    return bound is not None and span[0] <= bound <= span[1]


def _ticks(ax: Any, axes: Axes) -> None:
    x = [tick for tick in _TICKS_X if axes.x[0] <= tick <= axes.x[1]]
    if len(x) > 7:
        x = [tick for tick in x if math.log10(tick).is_integer()]
    y = [tick for tick in _TICKS_Y if axes.y[0] <= tick <= axes.y[1]]
    minus = "\N{MINUS SIGN}"
    ax.set_xticks(x, [f"{tick:g}\N{MULTIPLICATION SIGN}" for tick in x])
    ax.set_yticks(y, [str(tick).replace("-", minus) for tick in y])
    ax.minorticks_off()


def _mark(
    ax: Any,
    x: list[float],
    y: list[float],
    class_: str | None,
    hollow: bool,
    gid: str | None = None,
) -> None:
    colour = COLOURS[class_]
    ax.plot(
        x, y, ls="", marker=MARKS[class_], ms=7, mew=1.4, mec=colour,
        mfc="none" if hollow else colour, gid=gid, zorder=3,
    )  # fmt: skip


def draw(figure: Any, prefix: str, title: str, text: str, titles: dict[str, str]) -> str:
    """A matplotlib figure as SVG for a page; see svg.embed."""
    import matplotlib

    # Text as text, in the page's own font; without a salt the order of ids would be random.
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "optgauge",
        "font.family": "DejaVu Sans",
    }
    buffer = io.StringIO()
    with matplotlib.rc_context(settings):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return svg.embed(buffer.getvalue(), prefix, title, text, titles)
