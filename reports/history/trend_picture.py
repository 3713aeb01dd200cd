"""A trend as an SVG picture, or as a page of its own with the numbers below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports import charts, formats, records, render, svg
from reports.history import trend
from reports.history.compare import RATIOS
from reports.history.trend import Trend
from reports.records import RecordError

WIDTH, HEIGHT = 8.6, 4.8
_TICKS = [base * 10.0**power for power in range(-4, 6) for base in (1, 2, 5)]
COLOUR, OTHER, STEP = "#3a7bd5", "#7a828c", "#c2640a"


def write(found: list[Trend], path: Path) -> None:
    """Write the trends to path; its ending says whether as .svg (one trend) or as .html."""
    if path.suffix == ".svg":
        if len(found) > 1:
            what = f"{len(found)} targets, and an .svg holds one"
            raise RecordError(path, None, what, "choose one with --target, or write an .html")
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n{_standalone(picture(found[0], "t"))}'
    elif path.suffix == ".html":
        text = page(found)
    else:
        raise RecordError(path, None, "a picture of an unknown kind", "end it in .svg or .html")
    records.replace(path, text.encode("utf-8"))


def _standalone(text: str) -> str:
    return text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#222" ', 1)


def page(found: list[Trend]) -> str:
    """A page without network, style from elsewhere, or scripts."""
    sections = [
        {
            "title": one.title,
            "text": text(one),
            "svg": Markup(picture(one, f"t{number}")),
            "rows": [
                {
                    "run": point.row.run,
                    "started": formats.moment(point.run.get("started")),
                    "commit": str(point.run.get("commit") or "")[:12],
                    "numbers": trend.numbers(point),
                    "marks": "; ".join(point.marks),
                }
                for point in reversed(one.points)
            ],
        }
        for number, one in enumerate(found)
    ]
    return render.fill("trend.html", {"sections": sections})


def text(one: Trend) -> str:
    """One sentence that says what the picture shows."""
    values = [point.row.value for point in one.points if point.row.value is not None]
    changes = sum(point.step is not None for point in one.points)
    how = formats.form({"gate": one.points[0].row.gate})
    return (
        f"{formats.count(len(values), 'run')} on machine class {one.machine}, from "
        f"{how(min(values))} to {how(max(values))}, {formats.count(changes, 'step')}."
    )


def picture(one: Trend, prefix: str) -> str:
    """The trend as an SVG element: values with intervals and levels, below them bare times."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=72)
    figure.patch.set_visible(False)
    timed = [one.points[0].row.gate == "speed", any(p.row.baseline_s for p in one.points)]
    axes = figure.subplots(1 + all(timed), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.1, right=0.98, top=0.95, bottom=0.1, hspace=0.18)
    _values(axes[0], one)
    if all(timed):
        _times(axes[1], one)
    _dates(axes[-1], one)
    for ax in axes:
        _plain(ax)
    return charts.draw(figure, prefix, one.title, text(one), {})


def _values(ax: Any, one: Trend) -> None:
    points = one.points
    places = range(len(points))
    values = [point.row.value for point in points]
    for place, point in zip(places, points, strict=True):
        low, high = point.row.low, point.row.high
        if low is not None and high is not None and high < 3 * (point.row.value or high):
            ax.plot([place, place], [low, high], color=COLOUR, lw=1, alpha=0.5)
        if point.marks:
            colour = STEP if point.step is not None else OTHER
            ax.axvline(place - 0.5, color=colour, lw=1, ls="--", alpha=0.8)
    ax.plot(places, values, ls="", marker="o", ms=4, color=COLOUR)
    for first, last in one.levels if points[0].row.gate in RATIOS else ():
        part = [value for value in values[first : last + 1] if value is not None]
        mean = sum(part) / len(part)
        ax.plot([first - 0.5, last + 0.5], [mean, mean], color=svg.INK, lw=1.2, alpha=0.7)
    ax.set_ylabel({"speed": "speedup over FP32"}.get(points[0].row.gate, points[0].row.gate))


def _times(ax: Any, one: Trend) -> None:
    for name, colour, label in (
        ("baseline_s", OTHER, "FP32"),
        ("candidate_s", COLOUR, "this technique"),
    ):
        seconds = [getattr(point.row, name) for point in one.points]
        places = [place for place, value in enumerate(seconds) if value]
        known = [1e3 * value for value in seconds if value]
        ax.plot(places, known, ls="", marker="." if name == "baseline_s" else "o", ms=4,
                color=colour, label=label)  # fmt: skip
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ticks = [tick for tick in _TICKS if low <= tick <= high] or [low, high]
    ax.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    ax.set_ylabel("ms a call (not compared)")
    ax.legend(frameon=False, fontsize=8, labelcolor=svg.INK)


def _dates(ax: Any, one: Trend) -> None:
    every = max(1, len(one.points) // 6)
    places = list(range(0, len(one.points), every))
    ax.set_xticks(places, [str(one.points[p].run.get("started") or "")[:10] for p in places])


def _plain(ax: Any) -> None:
    ax.patch.set_visible(False)
    ax.minorticks_off()
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=svg.INK, alpha=0.4)
    ax.tick_params(colors=svg.INK, labelsize=9, length=3)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(color=svg.INK, fontsize=9)
