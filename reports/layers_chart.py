"""How well each layer bears 8 bits, as bars: what a stage noted as its `sensitivity`."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reports import formats, names, svg
from reports.cells import Cell
from reports.charts import COLOURS, draw, dress
from reports.plain import listing as _listing
from reports.plain import mapping as _mapping
from reports.plain import number as _number

MOST = 30
"""Layers that are drawn, the most sensitive ones."""

LONGEST = 28
"""Letters of a layer's name beside its bar; all of it is said when asked."""


def levels(cell: Cell) -> tuple[list[tuple[str, float]], set[str]]:
    """(layer and dB, the worst first; those left in FP32) of the first stage that tells."""
    evidence = _mapping(_mapping(cell.gate("evidence")).get("evidence"))
    for stage in map(_mapping, _listing(evidence.get("stages"))):
        notes = _mapping(stage.get("notes"))
        found = [
            (str(name), level)
            for name, one in _mapping(notes.get("sensitivity")).items()
            if (level := _number(one)) is not None and -1e3 < level < 1e3
        ]
        if found:
            return sorted(found, key=lambda one: one[1]), set(map(str, _listing(notes.get("kept"))))
    return [], set()


def plot(cell: Cell, prefix: str) -> Markup:
    """A bar a layer, the worst on top; empty where no stage noted its layers."""
    told, kept = levels(cell)
    shown = told[:MOST]
    if not shown:
        return Markup()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 0.6 + 0.2 * len(shown)), dpi=72)
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.36, right=0.97, top=1 - 0.08 / height, bottom=0.48 / height)
    ax = figure.subplots()
    titles: dict[str, str] = {}
    for place, (name, level) in enumerate(shown):
        gid = f"{prefix}-{place}"
        left = name in kept
        titles[gid] = f"{name}: {level:.1f} dB" + (", left in FP32" if left else "")
        look: Any = {"edgecolor": COLOURS["A"], "facecolor": "none" if left else COLOURS["A"]}
        ax.barh([place], [level], height=0.7, gid=gid, **look)
    ax.set_yticks(range(len(shown)), [names.short(name, LONGEST) for name, _ in shown])
    ax.invert_yaxis()
    dress(ax, "dB at the output with this layer alone in 8 bits", "")
    ax.tick_params(axis="y", colors=svg.INK)
    more = f" of {len(told)}" if len(told) > len(shown) else ""
    text = f"{formats.count(len(shown), 'layer')}{more}, the most sensitive first"
    text += "; hollow bars stay in FP32." if kept else "."
    return Markup(draw(figure, prefix, f"Layers of {cell.name}", text, titles))
