"""Training curves: loss against steps, FP32's and the other's, a line a seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reports import formats, names, svg
from reports.cells import Cell
from reports.charts import COLOURS, MOST_PLOTS, Plot, draw, dress
from reports.plain import listing, mapping, number
from reports.training import evidence

_ARMS = (("baseline", "FP32", COLOURS[None]), ("candidate", "mixed", COLOURS["A"]))


def curves(cells: Iterable[Cell]) -> list[Plot]:
    """A plot a cell that has curves, for the first MOST_PLOTS of them."""
    found = [
        (cell, drawn)
        for cell in cells
        if (drawn := listing(evidence(cell, "training_steps").get("curves")))
    ]
    plots = [_plot(f"curve{number}", cell, drawn) for number, (cell, drawn) in enumerate(found)]
    return [plot for plot in plots if plot][:MOST_PLOTS]


def _plot(prefix: str, cell: Cell, drawn: list[Any]) -> Plot | None:
    lines = [
        (points, name, colour)
        for seed in map(mapping, drawn)
        for arm, name, colour in _ARMS
        if len(points := _points(seed.get(arm))) > 1
    ]
    if not lines:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    figure = Figure(figsize=(4.3, 2.6), dpi=72)
    figure.subplots_adjust(left=0.16, right=0.97, top=0.97, bottom=0.19)
    ax = figure.add_subplot()
    for points, name, colour in lines:
        ax.plot(*zip(*points, strict=True), color=colour, lw=1.2, alpha=0.8, label=name)
    ax.set_yscale("log")
    # Losses seldom span a power of ten, and 3 x 10^-1 is no number to read.
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    dress(ax, "step", "training loss")
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    ax.legend(once.values(), once.keys(), frameon=False, fontsize=9, labelcolor=svg.INK)
    text = f"Training loss of {formats.count(len(drawn), 'seed')}, FP32 in grey."
    title = names.short(cell.name, names.LONGEST_NAME)
    return Plot(title, draw(figure, prefix, f"Training curves of {title}", text, {}), text)


def _points(value: Any) -> list[tuple[float, float]]:
    """The finite points above 0, which a logarithmic axis can hold."""
    pairs = [(number(one[0]), number(one[1])) for one in listing(value) if len(one) == 2]
    return [(x, y) for x, y in pairs if x is not None and y is not None and y > 0]
