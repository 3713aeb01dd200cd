"""The roofline of a target: what its kernels reach, and where each artifact's call stands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from reports import formats, names, svg
from reports.cells import Cell
from reports.charts import COLOURS, MARKS, Plot, draw, dress
from reports.edge import asked
from reports.plain import listing, mapping, number

_MOST_LABELS = 8
_LINE = 11.0
"""Pixels from one label to the next."""

_FORMATS = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16", "int8": "int8"}


def plots(cells: Iterable[Cell]) -> list[Plot]:
    """One plot a target whose cells tell a roofline."""
    targets: dict[str, list[tuple[Cell, dict[str, Any]]]] = {}
    for cell in asked(cells):
        evidence = mapping(mapping(cell.gate("edge_roofline")).get("evidence"))
        if _point(evidence) is not None:
            targets.setdefault(cell.target, []).append((cell, evidence))
    return [
        _plot(f"roofline{number}", target, found)
        for number, (target, found) in enumerate(targets.items(), start=1)
    ]


def _point(evidence: dict[str, Any]) -> tuple[float, float] | None:
    """(FLOP a byte, FLOP/s), both above 0."""
    x = number(mapping(evidence.get("roof")).get("intensity"))
    y = number(evidence.get("flops_per_s"))
    return (x, y) if x and y and x > 0 and y > 0 else None


def _plot(prefix: str, target: str, found: list[tuple[Cell, dict[str, Any]]]) -> Plot:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=72)
    figure.subplots_adjust(left=0.13, right=0.97, top=0.95, bottom=0.15)
    ax = figure.add_subplot()
    machine = mapping(found[0][1].get("machine"))
    points = [(cell, evidence, _point(evidence) or (1.0, 1.0)) for cell, evidence in found]
    peaks = {
        name: peak
        for name, told in mapping(machine.get("flops")).items()
        if (peak := number(told)) and name in {e.get("format") for _, e, _ in points}
    }
    rates = [
        number(one[1]) or 0.0 for one in map(listing, listing(machine.get("bandwidth"))) if one
    ]
    x = _span([point[0] for _, _, point in points], 0.25, 4.0)
    _roofs(ax, peaks, rates, x)
    titles: dict[str, str] = {}
    for cell, evidence, point in points:
        gid = f"{prefix}-{len(titles)}"
        share = formats.measured(cell.gate("edge_roofline") or {})
        titles[gid] = f"{cell.name}: {point[1] / 1e9:.3g} GFLOP/s, {share} of the roof"
        colour = COLOURS[None if cell.technique == "none" else cell.class_]
        mark = MARKS[None if cell.technique == "none" else cell.class_]
        solid = evidence.get("format") == "float32"
        ax.plot(*point, ls="", marker=mark, ms=7, mew=1.4, mec=colour,
                mfc=colour if solid else "none", gid=gid, zorder=3)  # fmt: skip
    _axes(ax, x)
    _labels(ax, [(cell.technique, *point) for cell, _, point in points])
    text = (
        f"{formats.count(len(points), 'artifact')}; slopes: bytes/s from memory and from the "
        f"nearest cache, flat: {', '.join(_FORMATS.get(name, name) for name in peaks)} products."
    )
    title = f"Roofline of {target}"
    return Plot(title, draw(figure, prefix, title, text, titles), text)


def _span(values: list[float], below: float, above: float) -> tuple[float, float]:
    return min(values) * below, max(values) * above


def _roofs(ax: Any, peaks: dict[str, float], rates: list[float], x: tuple[float, float]) -> None:
    """The slopes of the slowest and the fastest buffer, and the peak of each format."""
    top = max(peaks.values(), default=0.0)
    for rate, style in ((min(rates, default=0.0), "-"), (max(rates, default=0.0), ":")):
        if rate and top:
            end = min(x[1], top / rate)
            ax.plot([x[0], end], [rate * x[0], rate * end], color=svg.INK, lw=1, ls=style)
    for name, peak in peaks.items():
        ax.plot(x, [peak, peak], color=svg.INK, lw=1, alpha=0.7)
        ax.text(x[1], peak, _FORMATS.get(name, name), ha="right", va="bottom", fontsize=9,
                color=svg.INK)  # fmt: skip


def _labels(ax: Any, points: list[tuple[str, float, float]]) -> None:
    """Names beside the points, none over another: each at its height or above the one below."""
    if len(points) > _MOST_LABELS:
        return
    lowest = -math.inf
    placed = sorted(((*ax.transData.transform(at), name, at) for name, *at in points), key=_height)
    for _, height, name, at in placed:
        lift = max(height, lowest + _LINE)
        lowest = lift
        ax.annotate(
            names.short(name, 40), at, xytext=(8, lift - height - 3), textcoords="offset pixels",
            fontsize=8, color=svg.INK, parse_math=False,
        )  # fmt: skip


def _height(placed: tuple[float, float, str, list[float]]) -> float:
    return placed[1]


def _axes(ax: Any, x: tuple[float, float]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*x)
    ax.minorticks_off()
    dress(ax, "FLOP a byte moved", "FLOP/s")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1e6 else _short(value))


def _short(value: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
