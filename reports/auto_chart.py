"""A search for a pipeline on the page: what was tried as a plot, and as lines of text."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from reports import formats, search_chart, svg
from reports.cells import Cell
from reports.charts import COLOURS, MARKS, draw, dress
from reports.plain import listing as _listing
from reports.plain import mapping as _mapping
from reports.plain import number as _number

MOST_SHOWN = 12
"""Trials told as text, and reasons of those that ended early."""

MOST_UNDECIDED = 3

UNITS = {"latency_ms": "ms a call", "sample_ms": "ms a sample", "joules": "J a call"}
AIMS = {
    "latency": "least latency",
    "throughput": "most throughput",
    "energy": "least energy",
    "size": "fewest bytes",
}


def notes(cell: Cell) -> dict[str, Any]:
    """What a search for a pipeline noted; empty where there was none."""
    told = search_chart.found(cell)
    return told if _search(told).get("kind") == "pipelines" else {}


def lines(cell: Cell) -> list[str]:
    """Goal, what was found and how to have it again, the best trials, and why others ended."""
    told = notes(cell)
    trials = [one for one in map(_mapping, _listing(_search(told).get("trials"))) if one]
    if not trials:
        return []
    search, goal = _search(told), _mapping(told.get("goal"))
    made = [one for one in trials if one.get("status") not in ("skipped", "refused")]
    good = [one for one in trials if one.get("status") == "passes"]
    found = _mapping(_mapping(_mapping(cell.gate("evidence")).get("evidence")).get("found"))
    field = str(goal.get("field"))
    best = sorted(good, key=lambda one: _number(one.get(field)) or 0.0)
    return [
        _goal(goal),
        f"{formats.count(len(made), 'pipeline')} tried of {len(trials)} listed, {len(good)} good "
        f"enough on {search.get('samples')} samples: {search.get('validation')}",
        *_reference(search),
        *_again(trials, _number(search.get("samples"))),
        f"found: {search.get('pipeline')}",
        *batches(found),
        *([f"without a search: {found['command']}"] if found.get("command") else []),
        *undecided(found),
        *[_told(one, field) for one in best[:MOST_SHOWN]],
        *([f"{len(best) - MOST_SHOWN} more are good enough"] if best[MOST_SHOWN:] else []),
        *_ended(trials),
    ]


def _reference(search: dict[str, Any]) -> list[str]:
    """With what those that do not keep FP32's weights were compared."""
    told = _mapping(search.get("reference"))
    score, whole = _number(told.get("score")), _number(told.get("fp32"))
    if score is None or whole is None:
        return []
    views = _number(told.get("views")) or 1
    asked = (
        f"; those trained on inputs that change, {views:g} times: as they are, and changed so"
        if views > 1
        else ""
    )
    return [
        "structures and architectures were made from, and compared with, FP32 trained on the other "
        f"{told.get('trained_on')} training samples alone: {score:.4f} on these, where FP32 that "
        f"has seen all scores {whole:.4f}{asked}"
    ]


def _again(trials: list[dict[str, Any]], samples: float | None) -> list[str]:
    """Trials of which more samples were asked than of the others."""
    told = []
    for one in trials:
        asked, first = _number(one.get("samples")), _mapping(one.get("first"))
        drops = [_number(each.get("drop")) for each in (one, first)]
        if asked is None or samples is None or asked <= samples or None in drops:
            continue
        told.append(
            f"judged again, made from either half of training and asked about the other: "
            f"{one.get('pipeline')} drops {_points(one)} points by {formats.whole(round(asked))} "
            f"answers, {_points(first)} by the first {formats.whole(round(samples))}"
        )
    return told


def _points(told: dict[str, Any]) -> str:
    drop, error = (_number(told.get(name)) for name in ("drop", "drop_error"))
    assert drop is not None
    return f"{100 * drop:.2f}" + ("" if error is None else f" ± {100 * error:.2f}")


def batches(found: dict[str, Any]) -> list[str]:
    """In which batches the throughput that was asked for is reached, and what such a call takes."""
    told = _mapping(found.get("batch"))
    rate, call = _number(told.get("samples_per_second")), _number(told.get("call_ms"))
    if rate is None or call is None:
        return []
    memory = _mapping(told.get("memory_bytes"))
    new, old = (formats.size(_number(memory.get(arm))) for arm in ("candidate", "baseline"))
    shown = formats.whole(round(rate)) if rate >= 100 else f"{rate:.3g}"
    return [
        f"in batches of {told.get('size')}: {shown} samples a second, {call:.3g} ms a call, "
        f"{new} of memory (FP32 {old})"
    ]


def undecided(found: dict[str, Any]) -> list[str]:
    """What may be better, and was turned down since too few samples judge; how to have it gated."""
    told = []
    for one in map(_mapping, _listing(found.get("undecided"))[:MOST_UNDECIDED]):
        share = _number(one.get("share"))
        if _number(one.get("drop")) is None or share is None:
            continue
        told.append(
            f"undecided: {one.get('pipeline')} would cost about {share:.2g}x as much, and drops "
            f"{_points(one)} points on validation, too close to what is allowed"
        )
        told.append(f"have the accuracy gate decide: {one.get('command')}")
    return told


def _goal(goal: dict[str, Any]) -> str:
    drop = formats.POINTS(_number(goal.get("max_drop")))
    text = f"goal: {AIMS.get(str(goal.get('optimise_for')), goal.get('optimise_for'))}, "
    text += f"a drop of at most {drop}, {goal.get('allow')} may change"
    for name, unit in (("latency_ms", "ms"), ("size_mb", "MB")):
        if (most := _number(goal.get(name))) is not None:
            text += f", at most {most:.4g} {unit}"
    if (least := _number(goal.get("speed"))) is not None:
        text += f", at least {least:.4g}x as fast as FP32"
    return text


def _told(trial: dict[str, Any], field: str) -> str:
    parts = [f"drop {formats.POINTS(_number(trial.get('drop')))}"]
    cost, size = _number(trial.get(field)), _number(trial.get("bytes"))
    if cost is not None and field in UNITS:
        each = f" in batches of {trial['batch']}" if trial.get("batch") else ""
        parts.append(f"{cost:.3g} {UNITS[field]}{each}")
    if size is not None:
        parts.append(formats.size(size))
    return f"{trial.get('pipeline')}: {', '.join(parts)}"


def _ended(trials: list[dict[str, Any]]) -> list[str]:
    """Each reason once, with the first pipeline that it ended; those that were tried first."""
    reasons: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(trials, key=lambda one: one.get("status") == "skipped"):
        if one.get("status") != "passes" and one.get("reason"):
            reasons.setdefault(str(one["reason"]), []).append(one)
    told = []
    for reason, several in list(reasons.items())[:MOST_SHOWN]:
        more = f" and {len(several) - 1} more" if len(several) > 1 else ""
        told.append(f"{several[0].get('status')}: {several[0].get('pipeline')}{more}: {reason}")
    rest = Counter(str(one.get("status")) for one in trials if one.get("status") != "passes")
    if len(reasons) > MOST_SHOWN:
        told.append(", ".join(f"{count} {status}" for status, count in sorted(rest.items())))
    return told


def plot(cell: Cell, prefix: str) -> Markup:
    """Trials by drop and cost; empty where there was no such search, or nothing to draw."""
    told = notes(cell)
    goal = _mapping(told.get("goal"))
    field = str(goal.get("field"))
    points = _placed(told, field)
    if not points:
        return Markup()
    from matplotlib.figure import Figure

    search = _search(told)
    figure = Figure(figsize=(5.4, 2.8), dpi=72)
    figure.subplots_adjust(left=0.12, right=0.98, top=0.96, bottom=0.18)
    ax = figure.subplots()
    titles: dict[str, str] = {}
    for number, cost, drop, one in points:
        class_ = one.get("class") if one.get("class") in MARKS else None
        name = f"{prefix}-{number}"
        titles[name] = _told(one, field)
        fill = COLOURS[class_] if one.get("status") == "passes" else "none"
        mark: dict[str, Any] = {"ls": "", "marker": MARKS[class_], "ms": 7, "mfc": fill}
        ax.plot([cost], [100 * drop], gid=name, mec=COLOURS[class_], zorder=3, **mark)
        if number == search.get("chosen"):
            ax.plot([cost], [100 * drop], ls="", marker="o", ms=14, mec=svg.INK, mfc="none")
    if (most := _number(goal.get("max_drop"))) is not None:
        ax.axhline(100 * most, color=svg.INK, lw=1, ls="--", alpha=0.6)
    ax.set_xscale("log")
    _ticks(ax)
    dress(ax, UNITS.get(field, "MB"), "drop, points")
    text = (
        f"{formats.count(len(points), 'trial')} by cost and drop on validation: filled is good "
        "enough, ringed was chosen; the line is the drop that is allowed."
    )
    return Markup(draw(figure, prefix, f"Search of {cell.name}", text, titles))


def _ticks(ax: Any) -> None:
    """Plain numbers on the logarithmic axis: matplotlib's own are formulas, which need styles."""
    low, high = ax.get_xlim()
    ticks = [base * 10.0**power for power in range(-7, 8) for base in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    if len(shown) > 8:
        shown = [tick for tick in shown if f"{tick:e}".startswith("1")]
    ax.set_xticks(shown, [f"{tick:g}" for tick in shown])
    ax.minorticks_off()
    ax.set_xlim(low, high)


def _placed(told: dict[str, Any], field: str) -> list[tuple[int, float, float, dict[str, Any]]]:
    """(number, cost, drop, trial) of the trials that have both numbers."""
    found = []
    for number, one in enumerate(map(_mapping, _listing(_search(told).get("trials")))):
        cost, drop = _number(one.get(field)), _number(one.get("drop"))
        if cost is not None and drop is not None and 0 < cost < 1e12 and abs(drop) <= 1:
            found.append((number, cost / 1e6 if field == "bytes" else cost, drop, one))
    return found


def _search(told: dict[str, Any]) -> dict[str, Any]:
    return _mapping(told.get("search"))
