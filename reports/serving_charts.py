"""What loads tell of a cell, drawn: the search for a batching policy, the simulated fleet."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reports import svg
from reports.cells import Cell
from reports.charts import COLOURS, draw, dress
from reports.plain import listing, mapping, number
from reports.serving import arm, evidence


def charts(cell: Cell) -> Markup:
    """The curve of the policy search and the simulated fleet, as SVG; empty without loads."""
    return _curve(cell) + _timeline(cell)


def _axes(left: str, bottom: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3, 2.4), dpi=72)
    figure.subplots_adjust(left=0.16, right=0.97, top=0.96, bottom=0.2)
    ax = figure.add_subplot()
    dress(ax, bottom, left)
    return figure, ax


def _legend(ax: Any, **place: str) -> None:
    legend = ax.legend(frameon=False, fontsize=9, labelcolor=svg.INK, **place)
    for label in legend.get_texts():
        label.set_parse_math(False)  # A name from a record is no formula.


def _points(search: Any) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(largest batch, rate) without a wait, and with one."""
    still: list[tuple[float, float]] = []
    waiting: list[tuple[float, float]] = []
    for one in map(mapping, listing(mapping(search).get("points"))):
        size, found = number(one.get("largest_batch")), number(one.get("rate"))
        if size is not None and found is not None and size >= 1 and found >= 0:
            (waiting if number(one.get("wait_ms")) else still).append((size, found))
    return sorted(still), waiting


def _curve(cell: Cell) -> Markup:
    told = evidence(cell, "realtime_rate")
    sides = [("baseline_search", "FP32", COLOURS[None]), ("search", cell.technique, COLOURS["A"])]
    if told.get("search") == told.get("baseline_search"):
        sides = sides[1:]
    if not any(_points(told.get(key))[0] for key, _, _ in sides):
        return Markup()
    figure, ax = _axes("queries a second", "largest batch")
    sizes: set[float] = set()
    for key, name, colour in sides:
        still, waiting = _points(told.get(key))
        if still:
            ax.plot(*zip(*still, strict=True), color=colour, lw=1.5, marker="o", ms=5, label=name)
        if waiting:
            ax.plot(*zip(*waiting, strict=True), color=colour, ls="", marker="x", ms=6)
        sizes |= {size for size, _ in [*still, *waiting]}
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(sizes), [f"{size:g}" for size in sorted(sizes)])
    ax.minorticks_off()
    ax.set_ylim(bottom=0)
    _legend(ax)
    text = "Queries a second within the deadline against the largest batch; crosses wait for more."
    title = f"Batching policies of {cell.name}"
    return Markup(draw(figure, f"{cell.anchor}-policies", title, text, {}))


def _timeline(cell: Cell) -> Markup:
    sides = [("baseline", "FP32", COLOURS[None]), ("candidate", cell.technique, COLOURS["A"])]
    lines = []
    for side, name, colour in sides:
        found = [
            (number(one[0]), number(one[2]))
            for one in listing(arm(cell, "cloud_fleet", side).get("timeline"))
            if isinstance(one, list) and len(one) == 3
        ]
        if len(found) > 1 and all(None not in pair for pair in found):
            lines.append((found, name, colour))
    if not lines:
        return Markup()
    figure, ax = _axes("replicas (simulated)", "second of the trace")
    for found, name, colour in lines:
        ax.step(*zip(*found, strict=True), color=colour, lw=1.5, where="post", label=name)
    ax.set_ylim(bottom=0)
    _legend(ax, loc="lower right")
    text = "Simulated replicas over the traffic trace."
    title = f"Simulated fleet of {cell.name}"
    return Markup(draw(figure, f"{cell.anchor}-fleet", title, text, {}))
