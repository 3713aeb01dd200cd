"""The tables of docs/results.md, each from plain records: Markdown lines in, no measuring here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results_distillation import LEAST_SEEDS, paired_interval

from reports import formats, picks
from reports.cells import Cell

CLASSES = {
    "A": "the same architecture, other numerics",
    "B": "pruned or factorised from the model",
    "C": "another architecture",
}
GOALS = {"A": (5.0, 7.0), "B": (8.0, 12.0)}
"""Geometric mean over CONVOLUTIONAL: at least, and aimed at."""

CONVOLUTIONAL = ("resnet18", "mobilenet_v3_small")
"""Models with labels whose work is convolution."""

TARGET = "cpu"
OVER_TOOLS = 1.15

Row = Mapping[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; bars inside a cell are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(one.replace('|', chr(92) + '|') for one in line)} |" for line in lines]


def geometric(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers; NaN of none."""
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def best(cells: Sequence[Cell], class_: str) -> dict[str, picks.Pick]:
    """By model the fastest cell of a class that passes evidence, reload and accuracy."""
    here = [cell for cell in cells if cell.class_ == class_ and cell.target == TARGET]
    return {pick.model: pick for pick in picks.recommend(here)}


def class_table(cells: Sequence[Cell], class_: str) -> list[str]:
    """Each model's best certified cell; where there is none, what stood in the way."""
    rows = []
    for model, pick in best(cells, class_).items():
        if pick.cell is None:
            why = ", ".join(f"{count} {reason}" for reason, count in pick.instead)
            rows.append([model, f"none keeps the accuracy ({why})", "", "", "", ""])
            continue
        speeds = {one["batch"]: one for one in pick.cell.verdicts if one["gate"] == "speed"}
        first, *more = (formats.measured(speeds[size]) for size in sorted(speeds))
        size = pick.cell.gate("size")
        rows.append(
            [
                model,
                f"`{pick.cell.technique}`",
                first,
                more[0] if more else "",
                formats.measured(size) if size else "",
                formats.drop(pick.cell.gate("accuracy")),
            ]
        )
    head = ["model", "technique", "speedup, batch 1", "batch 32", "size", "drop"]
    return table(head, rows) if rows else ["No cell of this class was measured."]


def means(cells: Sequence[Cell]) -> list[str]:
    """The geometric mean of the convolutional models' best, by class, beside its goal."""
    rows = []
    for class_ in CLASSES:
        found = best(cells, class_)
        chosen = [found[model].cell for model in CONVOLUTIONAL if model in found]
        values = [value for cell in chosen if cell and (value := cell.value("speed"))]
        if len(values) < len(CONVOLUTIONAL):
            rows.append([class_, f"only {len(values)} of {len(CONVOLUTIONAL)} certified", ""])
            continue
        goal = GOALS.get(class_)
        value = geometric(values)
        told = "none set"
        if goal:
            reached = "reached" if value >= goal[0] else "MISSED"
            told = f"at least {goal[0]:g}×, aim {goal[1]:g}×: {reached}"
        rows.append([class_, f"{value:.2f}×", told])
    return table(["class", f"geometric mean of {' and '.join(CONVOLUTIONAL)}", "goal"], rows)


def losers(cells: Sequence[Cell]) -> list[str]:
    """Cells slower than eager FP32 beyond their interval, or outside the accuracy gate."""
    rows = []
    for cell in cells:
        speed, accuracy = cell.gate("speed"), cell.gate("accuracy")
        if not cell.measured or speed is None or accuracy is None or cell.technique == "none":
            continue
        slow = speed.get("high") is not None and speed["high"] < 1
        if slow or accuracy["status"] != "PASS":
            rows.append(
                [
                    cell.model,
                    f"`{cell.technique}`",
                    cell.target,
                    cell.class_ or "",
                    formats.measured(speed),
                    f"{formats.drop(accuracy)} {accuracy['status']}",
                ]
            )
    if not rows:
        return ["None: every measured cell is faster than eager FP32 and keeps the accuracy."]
    return table(["model", "technique", "target", "class", "speedup, batch 1", "accuracy"], rows)


@dataclass(frozen=True)
class Tool:
    """What one tool gave on one model, over all processes that timed it."""

    model: str
    name: str
    ratio: float | None
    low: float | None
    high: float | None
    drop: float | None
    certified: bool
    error: str | None


def tools(rows: Sequence[Row]) -> list[Tool]:
    """One entry a model and tool. A process that failed or is invalid spoils its tool."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["tool"]), []).append(row)
    found = []
    for (model, name), group in groups.items():
        error = next(
            (why for row in group if (why := row.get("error") or row.get("invalid"))), None
        )
        if error:
            found.append(Tool(model, name, None, None, None, None, False, error))
            continue
        logs = [row["log_ratio"] for row in group]
        low, high = paired_interval(logs) if len(logs) >= LEAST_SEEDS else (None, None)
        found.append(
            Tool(
                model,
                name,
                math.exp(statistics.fmean(logs)),
                None if low is None else math.exp(low),
                None if high is None else math.exp(high),
                max(row["drop"] for row in group),
                all(row["accuracy"] == "PASS" for row in group),
                None,
            )
        )
    return found


def tool_table(found: Sequence[Tool]) -> list[str]:
    """Every tool on every model, what fails included."""
    rows = []
    for tool in found:
        if tool.ratio is None:
            rows.append([tool.model, tool.name, "", "", tool.error or ""])
            continue
        inside = f" [{tool.low:.2f}, {tool.high:.2f}]" if tool.low and tool.high else ""
        kept = "certified" if tool.certified else "not certified"
        drop = formats.POINTS(tool.drop)
        rows.append([tool.model, tool.name, f"{tool.ratio:.2f}×{inside}", drop, kept])
    return table(["model", "tool", "speedup, batch 1", "drop", "accuracy"], rows)


def against_tools(cells: Sequence[Cell], found: Sequence[Tool]) -> list[str]:
    """Class A's best of each model over the best certified tool, and their mean."""
    rows, ratios = [], []
    for model, pick in best(cells, "A").items():
        rivals = [one for one in found if one.model == model and one.certified and one.ratio]
        if not any(one.model == model for one in found):
            rows.append([model, "", "", "the tools were not run on it"])
            continue
        if pick.cell is None or not rivals:
            rows.append([model, "", "", "nothing certified to compare"])
            continue
        rival = max(rivals, key=lambda one: one.ratio or 0.0)
        mine = pick.cell.value("speed")
        if mine is None or rival.ratio is None:
            raise ValueError(f"the best cell or tool of {model} has no speed")
        ratios.append(mine / rival.ratio)
        told = f"{ratios[-1]:.2f}×" + (" (slower)" if ratios[-1] < 1 else "")
        rows.append(
            [
                model,
                f"`{pick.cell.technique}` {mine:.2f}×",
                f"{rival.name} {rival.ratio:.2f}×",
                told,
            ]
        )
    lines = table(["model", "class A's best", "best tool by itself", "ratio"], rows)
    if ratios:
        value = geometric(ratios)
        verdict = "reached" if value >= OVER_TOOLS else "MISSED"
        lines += ["", f"Geometric mean {value:.2f}×; the goal is {OVER_TOOLS}×: {verdict}."]
    return lines


def qat_table(cells: Sequence[Cell], samples: Path) -> list[str]:
    """QAT against PTQ on the same samples, as a paired 95 % interval of what QAT loses."""
    import numpy as np

    from gauge import paired, tango

    rows = []
    for cell in cells:
        if cell.technique.partition(":")[0] != "qat_int8" or not cell.measured:
            continue
        rival = next((one for one in cells if _ptq_of(one, cell)), None)
        files = [samples / f"{one.verdicts[0]['id']}.npz" for one in (rival, cell) if one]
        if len(files) < 2 or not all(path.exists() for path in files):
            continue
        with np.load(files[0]) as before, np.load(files[1]) as after:
            groups = before["groups"].tolist() if "groups" in before else None
            found = paired.compare(before["candidate"], after["candidate"], None, groups)
            binary = set(np.unique(before["candidate"])) | set(np.unique(after["candidate"]))
        low, high = found.low, found.high
        level = "99.5 % and 95 % bounds, by group"
        if groups is None and binary <= {0.0, 1.0}:
            low, high = tango.tango_interval(found.b, found.c, found.n)
            level = "95 %"
        worse = "worse" if low > 0 else "not worse"
        told = f"{100 * found.drop:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}] ({level})"
        rows.append([cell.model, f"`{cell.technique}`", told, worse])
    if not rows:
        return ["The run holds no model with both."]
    return table(["model", "QAT", "points lost against static_int8", "verdict"], rows)


def _ptq_of(one: Cell, qat: Cell) -> bool:
    return one.technique == "static_int8" and (one.model, one.target) == (qat.model, qat.target)


def layer_table(cells: Sequence[Cell], model: str, most: int = 8) -> list[str]:
    """The layers that do most damage in int8, from a stage's note `sensitivity` (layer to dB)."""
    for cell in cells:
        if cell.model != model:
            continue
        evidence = (cell.gate("evidence") or {}).get("evidence") or {}
        for stage in evidence.get("stages", ()):
            notes = stage.get("notes") or {}
            decibels = notes.get("sensitivity")
            if decibels:
                kept = set(notes.get("kept") or ())
                worst = sorted(decibels.items(), key=lambda item: item[1])[:most]
                rows = [
                    [name, f"{signal:.1f}", "FP32" if name in kept else "int8"]
                    for name, signal in worst
                ]
                head = ["layer", "dB at the output, it alone in int8", f"in `{cell.technique}`"]
                return table(head, rows)
    return [f"No technique of this run tells the layers of {model} apart."]
