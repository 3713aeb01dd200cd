"""A search as two plots, its front and its history, and as lines of text."""

from __future__ import annotations

import itertools
from typing import Any

from markupsafe import Markup

from reports import formats, names, svg
from reports.cells import Cell
from reports.charts import COLOURS, draw, dress
from reports.plain import listing as _listing
from reports.plain import mapping as _mapping
from reports.plain import number as _number

MOST_SHOWN = 12
"""Candidates of the front told as text."""

SERIES = ((COLOURS["C"], "^"), (COLOURS[None], "x"), (COLOURS["B"], "s"))
"""Colour and mark of the search, of chance, and of the hand-designed model scaled down."""

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


def trials(search: dict[str, Any]) -> list[Trial]:
    """The trials that have both numbers, in the order in which they were tried."""
    told = []
    for number, one in enumerate(map(_mapping, _listing(search.get("trials")))):
        right, latency = _number(one.get("right")), _number(one.get("latency_ms"))
        if right is None or latency is None or not 0 < latency < 1e9 or not 0 <= right <= 1:
            continue
        choice = ", ".join(f"{key} {value}" for key, value in _mapping(one.get("choice")).items())
        told.append((number, right, latency, choice))
    return told


def lines(cell: Cell) -> list[str]:
    """The search in words: how much was tried, the front, and the budget."""
    notes = found(cell)
    search = _search(notes)
    told = trials(search)
    if not told:
        return []
    text = f"{formats.count(len(told), 'trial')} of {search.get('candidates')} candidates"
    text += f" by {search.get('strategy')}, scored on {search.get('samples')} samples of training"
    kept = set(_listing(search.get("front")))
    on_front = sorted((one for one in told if one[0] in kept), key=lambda one: one[2])
    source, returned = _returned(search)
    return [
        text,
        *([f"returned: {_told(returned)}{source}"] if returned else []),
        *_leading(search, told, returned),
        *_budget(_mapping(notes.get("budget"))),
        *[
            f"{name}, {formats.count(len(found), 'trial')}: {_told(best)}"
            for name, found, best in _beside(search)
            if best
        ],
        *[f"front: {_told(one)}" for one in on_front[:MOST_SHOWN]],
        *([f"{len(on_front) - MOST_SHOWN} more on the front"] if on_front[MOST_SHOWN:] else []),
    ]


def _beside(search: dict[str, Any]) -> list[tuple[str, list[Trial], Trial | None]]:
    """What the search has to beat: name, trials, and its best within the limits."""
    told = []
    for name, one in _mapping(search.get("beside")).items():
        found = trials(_mapping(one))
        chosen = _mapping(one).get("chosen")
        told.append((str(name), found, next((it for it in found if it[0] == chosen), None)))
    return told


def _returned(search: dict[str, Any]) -> tuple[str, Trial | None]:
    """Words for whose trial was returned, where it is not the search's own; and the trial."""
    returned = _mapping(search.get("returned"))
    source, number = str(returned.get("of")), returned.get("trial")
    own = source == str(search.get("strategy"))
    among = trials(search if own else _mapping(_mapping(search.get("beside")).get(source)))
    words = "" if own else f", of {names.short(source, 30)}: no own candidate is within the limits"
    return words, next((one for one in among if one[0] == number), None)


def _leading(search: dict[str, Any], told: list[Trial], returned: Trial | None) -> list[str]:
    """The best score, where one within a standard error of it was returned instead."""
    top = next((one for one in told if one[0] == search.get("best")), None)
    if top is None or returned is None or top == returned or top[1] <= returned[1]:
        return []
    word = "smaller" if search.get("by") == "bytes" else "faster"
    return [f"best score: {_told(top)}; the returned one is within one standard error, and {word}"]


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
    search = _search(notes)
    told = trials(search)
    if not told:
        return Markup()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 3.1), dpi=72)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.88, bottom=0.16, wspace=0.24)
    left, right = figure.subplots(1, 2)
    titles: dict[str, str] = {}
    own = (str(search.get("strategy")), told, None)
    for group, (name, tried, _) in enumerate([own, *_beside(search)]):
        colour, mark = SERIES[min(group, len(SERIES) - 1)]
        looks: dict[str, Any] = {"ls": "", "marker": mark, "ms": 5, "mec": colour}
        for place, one in enumerate(tried):
            gid = f"{prefix}-{group}-{place}"
            titles[gid] = f"{name}: {_told(one)}"
            fill = colour if one in _front(tried) else "none"
            left.plot([one[2]], [100 * one[1]], gid=gid, zorder=3 - group / 9, mfc=fill, **looks)
        edge = _front(tried)
        left.plot([x[2] for x in edge], [100 * x[1] for x in edge], color=colour, ls=":", lw=1)
        best = list(itertools.accumulate((100 * one[1] for one in tried), max))
        right.step(
            range(len(best)), best, where="post", color=colour, lw=1.5, label=names.short(name, 30)
        )
        right.plot(
            range(len(tried)), [100 * one[1] for one in tried], alpha=0.6, mfc="none", **looks
        )
    _, got = _returned(search)
    if got:
        left.plot([got[2]], [100 * got[1]], ls="", marker="o", ms=12, mec=svg.INK, mfc="none")
    most = _number(_mapping(notes.get("budget")).get("latency_ms"))
    if most is not None and most <= 2 * max(one[2] for one in told):
        left.axvline(most, color=svg.INK, lw=1, ls="--", alpha=0.6)
    dress(left, "ms a call", "right, %")
    dress(right, "trial", "right, %")
    handles, labels = right.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="upper center", ncols=max(1, len(labels)), frameon=False, fontsize=9,
        labelcolor=svg.INK,
    )  # fmt: skip
    for label in legend.get_texts():
        label.set_parse_math(False)  # A name from a record is no formula.
    text = (
        f"{formats.count(len(told), 'trial')}: on the left score against latency, filled what is "
        "on a front, ringed what was returned; on the right scores in order and the best so far."
    )
    return Markup(draw(figure, prefix, f"Search of {cell.name}", text, titles))


def _front(told: list[Trial]) -> list[Trial]:
    """Those that no other beats in both score and latency, fastest first."""
    front: list[Trial] = []
    for one in sorted(told, key=lambda it: (it[2], -it[1])):
        if not front or one[1] > front[-1][1]:
            front.append(one)
    return front


def _search(notes: dict[str, Any]) -> dict[str, Any]:
    return _mapping(notes.get("search"))
