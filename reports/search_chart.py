"""A search as two plots, its front and its history, and as lines of text."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from reports import formats, svg
from reports.cells import Cell
from reports.charts import COLOURS, draw
from reports.plain import listing as _listing
from reports.plain import mapping as _mapping
from reports.plain import number as _number

MOST_SHOWN = 12
"""Candidates of the front told as text."""

Trial = tuple[int, float, float, str]
"""Number, share of right answers, milliseconds a call, and what it is made of."""


def found(cell: Cell) -> dict[str, Any]:
    """What a search of the cell noted; empty where there was none."""
    evidence = _mapping(_mapping(cell.gate("evidence")).get("evidence"))
    for stage in map(_mapping, _listing(evidence.get("stages"))):
        notes = _mapping(stage.get("notes"))
        if _mapping(notes.get("search")):
            return notes
    return {}


def trials(notes: dict[str, Any]) -> list[Trial]:
    """The trials that have both numbers, in the order in which they were tried."""
    told = []
    for number, one in enumerate(map(_mapping, _listing(_search(notes).get("trials")))):
        right, latency = _number(one.get("right")), _number(one.get("latency_ms"))
        if right is None or latency is None or not 0 < latency < 1e9 or not 0 <= right <= 1:
            continue
        choice = ", ".join(f"{key} {value}" for key, value in _mapping(one.get("choice")).items())
        told.append((number, right, latency, choice))
    return told


def lines(cell: Cell) -> list[str]:
    """The search in words: how much was tried, the front, and the budget."""
    notes = found(cell)
    told = trials(notes)
    if not told:
        return []
    search = _search(notes)
    text = f"{formats.count(len(told), 'trial')} of {search.get('candidates')} candidates"
    text += f" by {search.get('strategy')}, scored on {search.get('samples')} samples of training"
    kept = set(_listing(search.get("front")))
    on_front = sorted((one for one in told if one[0] in kept), key=lambda one: one[2])
    chosen = next((one for one in told if one[0] == search.get("chosen")), None)
    return [
        text,
        *([f"chosen: {_told(chosen)}"] if chosen else []),
        *_budget(_mapping(notes.get("budget"))),
        *[f"front: {_told(one)}" for one in on_front[:MOST_SHOWN]],
        *([f"{len(on_front) - MOST_SHOWN} more on the front"] if on_front[MOST_SHOWN:] else []),
    ]


def _told(trial: Trial) -> str:
    number, right, latency, choice = trial
    return f"trial {number}, {formats.PERCENT(right)}, {latency:.3g} ms ({choice})"


def _budget(budget: dict[str, Any]) -> list[str]:
    stated = [
        f"{most:.4g} {unit}"
        for name, unit in (("latency_ms", "ms"), ("size_mb", "MB"))
        if (most := _number(budget.get(name))) is not None
    ]
    if not stated:
        return []
    missed = [
        f"{name} over it by {formats.PERCENT(share)}"
        for name, one in _mapping(budget.get("missed_by")).items()
        if (share := _number(one)) is not None
    ]
    return [f"budget {' and '.join(stated)}: {', '.join(missed) or 'kept'}"]


def plot(cell: Cell, prefix: str) -> Markup:
    """Front and history as one SVG; empty where there was no search, or nothing to draw."""
    notes = found(cell)
    told = trials(notes)
    if not told:
        return Markup()
    from matplotlib.figure import Figure

    search = _search(notes)
    kept = set(_listing(search.get("front")))
    figure = Figure(figsize=(7.4, 2.8), dpi=72)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.96, bottom=0.18, wspace=0.24)
    left, right = figure.subplots(1, 2)
    titles: dict[str, str] = {}
    for place, one in enumerate(told):
        number, score, latency, _ = one
        name = f"{prefix}-{place}"
        titles[name] = _told(one)
        fill = COLOURS["C"] if number in kept else "none"
        mark: dict[str, Any] = {"ls": "", "marker": "^", "ms": 6, "mec": COLOURS["C"], "mfc": fill}
        left.plot([latency], [100 * score], gid=name, zorder=3, **mark)
        right.plot([number], [100 * score], zorder=3, **mark)
        if number == search.get("chosen"):
            left.plot([latency], [100 * score], ls="", marker="o", ms=13, mec=svg.INK, mfc="none")
    front = sorted((one[2], 100 * one[1]) for one in told if one[0] in kept)
    left.plot([x for x, _ in front], [y for _, y in front], color=COLOURS["C"], ls=":")
    best, reached = [], -math.inf
    for _, score, _, _ in told:
        reached = max(reached, 100 * score)
        best.append(reached)
    right.step([one[0] for one in told], best, where="post", color=COLOURS["C"], lw=1)
    most = _number(_mapping(notes.get("budget")).get("latency_ms"))
    if most is not None and most <= 2 * max(one[2] for one in told):
        left.axvline(most, color=svg.INK, lw=1, ls="--", alpha=0.6)
    _dress(left, "ms a call", "right, %")
    _dress(right, "trial", "right, %")
    text = (
        f"{formats.count(len(told), 'trial')}: on the left score against latency, filled what is "
        "on the front, ringed the chosen one; on the right the scores in order and the best so far."
    )
    return Markup(draw(figure, prefix, f"Search of {cell.name}", text, titles))


def _dress(ax: Any, x: str, y: str) -> None:
    ax.set_xlabel(x, fontsize=10, color=svg.INK)
    ax.set_ylabel(y, fontsize=10, color=svg.INK)
    ax.tick_params(colors=svg.INK, labelsize=9, length=3)
    ax.patch.set_visible(False)
    ax.figure.patch.set_visible(False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=svg.INK, alpha=0.4)


def _search(notes: dict[str, Any]) -> dict[str, Any]:
    return _mapping(notes.get("search"))
