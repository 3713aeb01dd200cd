"""What the page's templates print: texts and lists, every number already formatted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reports import (
    deployment,
    detail,
    formats,
    names,
    serving_charts,
    svg,
    training,
    trust,
    view_plots,
)
from reports import edge as small
from reports.cells import Cell, in_order
from reports.picks import Pick, Ratio
from reports.records import Record
from reports.summarize import EVERY, Group, Line, Summary, chance, lines_of

SYMBOLS = {
    "PASS": "✓",
    "FAIL": "✗",
    "ERROR": "!",
    "INCONCLUSIVE": "?",
    "WAIVED": "~",
    "NO_BASELINE": "≠",
    "NO_EXPECTATION": "○",
    "REFUSED": "\N{EN DASH}",
    "SHIP": "✓",
    "HOLD": "✗",
    trust.GOOD: "✓",
    trust.WARN: "~",
    trust.BAD: "✗",
    trust.UNKNOWN: "○",
}
CLASSES = {
    "A": "the same architecture",
    "B": "pruned or factorised from it",
    "C": "another architecture",
    None: "class not available",
}
FIRST_LINES = 6
"""Cells listed under Why before the rest is folded."""
MOST_LINES = 60
DASH = "\u2013"
"""In a wide table, for what is not available."""

"""Cells listed at all before the rest is left to the table of every cell."""

View = dict[str, Any]


def name(cell: Cell) -> View:
    """A cell's names, short enough to show, and where its section is."""
    return {
        "model": names.short(cell.model, names.LONGEST_NAME),
        "technique": names.short(cell.technique, names.LONGEST_NAME),
        "target": names.short(cell.target, names.LONGEST_NAME),
        "class_": cell.class_ or "?",
        "status": cell.status,
        "anchor": cell.anchor,
        "command": names.visible(names.short(cell.command or "", names.LONGEST_COMMAND)),
    }


def _commands(verdicts: Iterable[Record]) -> list[str]:
    """Each command that repeats some of the verdicts; a cell's suites have one each."""
    found = dict.fromkeys(one["command"] for one in verdicts if one.get("command"))
    return [names.visible(names.short(one, names.LONGEST_COMMAND)) for one in found] or [""]


def lines(found: tuple[Line, ...]) -> View:
    """Lines by cell, in their order: the first ones, those to fold, and how many more there are."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in found:
        groups.setdefault(line.cell.key, []).append(line)
    shown = [
        {
            **name(group[0].cell),
            "lines": [_line(line) for line in group],
            "commands": _commands(one for line in group for one in line.verdicts),
        }
        for group in list(groups.values())[:MOST_LINES]
    ]
    return {
        "first": shown[:FIRST_LINES],
        "folded": shown[FIRST_LINES:],
        "more": len(groups) - len(shown),
        "cells": len(groups),
        "gates": sum(len(line.verdicts) for line in found),
    }


def _line(line: Line) -> View:
    limit = line.first.get("limit") or {}
    return {
        "gates": line.gates,
        "status": line.status,
        "measured": formats.measured(line.first),
        "picture": svg.interval(line.first),
        "limit": line.limit,
        "source": limit.get("source"),
        "cause": names.first_line(line.first.get("reason")) or "no reason given",
    }


def lacking(summary: Summary) -> list[str]:
    """What the policy requires and the run does not answer, and waivers that must go."""
    return [one.text for one in summary.unmet] + [one.line for one in summary.stale]


def lacking_title(summary: Summary) -> str:
    """What these lines mean for this run."""
    if summary.run.get("gate") == "release":
        return "This fails the release"
    return "A release would fail for this"


def triage_text(summary: Summary) -> str:
    """What the list of gates in order of triage is."""
    of = chance(summary.triage[0].first)["of"] if summary.triage else 0
    return (
        "Failing and undecided gates that judge by chance. p: how likely the measurement is where "
        "the limit is kept. q: the share of false alarms among the gates up to here (Benjamini "
        f"and Hochberg, over {formats.count(of, 'gate')})."
    )


def triage(summary: Summary) -> list[View]:
    """The gates in order of triage, with their p and q values."""
    return [
        {
            **name(line.cell),
            **_line(line),
            "p": formats.probability(chance(line.first)["p"]),
            "q": formats.probability(chance(line.first)["q"]),
        }
        for line in summary.triage[:MOST_LINES]
    ]


def recommended(summary: Summary) -> list[View]:
    """The recommended cells, a table a class; rows of which nothing was measured are left out."""
    tables = []
    for class_ in sorted({pick.class_ for pick in summary.picks}, key=lambda name: name or "~"):
        picks = [found for found in summary.picks if found.class_ == class_]
        shown = [found for found in picks if found.cell or set(dict(found.instead)) - {"refused"}]
        tables.append(
            {
                "class_": class_ or "?",
                "meaning": CLASSES[class_],
                "rows": [pick(found) for found in shown],
                "refused": len(picks) - len(shown),
            }
        )
    return tables


def pick(found: Pick) -> View:
    """A recommended cell with its numbers."""
    cell = found.cell
    row: View = {
        "model": names.short(found.model, names.LONGEST_NAME),
        "target": names.short(found.target, names.LONGEST_NAME),
        "cell": None if cell is None else name(cell),
        "instead": tally(found.instead),
        "waived": None if found.waived is None else name(found.waived),
        "waived_speed": formats.measured((found.waived and found.waived.gate("speed")) or _NOTHING),
    }
    if cell is not None:
        row |= {
            "speed": formats.measured(cell.gate("speed") or _NOTHING),
            "pays": found.pays,
            "against": _against(found),
            "drop": formats.drop(cell.gate("accuracy")),
            "size": _size(cell),
        }
    return row


_NOTHING: Record = {"gate": "speed", "value": None}


def _against(pick: Pick) -> tuple[str, str]:
    """The ratio to the best lossless FP32, and what that is."""
    if pick.best_fp32 is None:
        return ratio(pick.against_fp32), "over eager: no other is faster"
    if pick.cell is pick.best_fp32:
        return "", "is the best FP32"
    return ratio(pick.against_fp32), f"over {names.short(pick.best_fp32.technique, 60)}"


def ratio(found: Ratio | None) -> str:
    """A ratio with its interval."""
    if found is None:
        return formats.ABSENT
    return formats.measured({"gate": "speed", **vars(found)})


def _size(cell: Cell) -> str:
    verdict = cell.gate("size")
    if verdict is None or verdict.get("value") is None:
        return formats.ABSENT
    count = (verdict.get("candidate") or {}).get("bytes")
    return formats.measured(verdict) + ("" if count is None else f", {formats.size(count)}")


def deployments(summary: Summary) -> list[View]:
    """What to take for edge, real time and cloud, a row a model, target and suite."""
    return [
        {
            "model": names.short(found.model, names.LONGEST_NAME),
            "target": names.short(found.target, names.LONGEST_NAME),
            "suite": deployment.NAMES[found.suite],
            "cell": None if found.cell is None else name(found.cell),
            "gain": names.short(found.gain, names.LONGEST_LINE),
            "risk": names.short(found.risk, names.LONGEST_LINE),
            "command": names.visible(names.short(found.command, names.LONGEST_COMMAND)),
        }
        for found in summary.choices
    ]


def edge(summary: Summary) -> list[View]:
    """What artifacts take of a small device, a table a model and target."""
    return [
        {
            "model": names.short(model, names.LONGEST_NAME),
            "target": names.short(target, names.LONGEST_NAME),
            "columns": list(small.COLUMNS.values()),
            "rows": [
                {**name(cell), "numbers": [DASH if one == formats.ABSENT else one for one in told]}
                for cell, told in rows
            ],
            "absent": [names.short(one) for one in small.absent(cell for cell, _ in rows)],
        }
        for (model, target), rows in small.tables(summary.cells).items()
    ]


def tally(counted: tuple[tuple[str, int], ...]) -> str:
    """Reasons with how often each occurs: "refused (2), crashed (1)"."""
    return ", ".join(f"{reason} ({number})" for reason, number in counted)


def matrix(summary: Summary) -> list[View]:
    """A table a target of what became of each model and technique."""
    cells = [cell for cell in summary.cells if not cell.trains]
    return [_matrix(cells, target) for target in in_order(c.target for c in cells)]


def _matrix(every: list[Cell], target: str) -> View:
    cells = [cell for cell in every if cell.target == target]
    models = in_order(cell.model for cell in cells)
    techniques = in_order(cell.technique for cell in cells)
    by_key = {cell.key: cell for cell in cells}
    # Names of techniques are long and read best down the side, unless the models are far more.
    down = len(models) > 2 * len(techniques)
    rows, columns = (models, techniques) if down else (techniques, models)
    return {
        "target": names.short(target, names.LONGEST_NAME),
        "corner": "model" if down else "technique",
        "columns": [names.short(column, 60) for column in columns],
        "rows": [
            {
                "name": names.short(row, 80),
                "cells": [
                    _entry(by_key.get((row, column, target) if down else (column, row, target)))
                    for column in columns
                ],
            }
            for row in rows
        ],
    }


def _entry(cell: Cell | None) -> View | None:
    if cell is None:
        return None
    speed = cell.gate("speed")
    timed = "" if speed is None or speed.get("value") is None else formats.measured(speed, False)
    gates = in_order(v["gate"] for v in cell.verdicts if v["status"] == cell.status)
    if not cell.measured:
        words, timed = ("crashed" if cell.status == "ERROR" else "refused"), ""
    elif cell.status in ("PASS", "NO_EXPECTATION"):
        words, timed = timed or "pass", ""
    else:
        words = gates[0] + (f" +{len(gates) - 1}" if len(gates) > 1 else "")
    return {"status": cell.status, "words": words, "timed": timed, "anchor": cell.anchor}


def trainings(summary: Summary) -> list[View]:
    """A row a cell that tells how a model trains."""
    return [{**name(row.cell), **vars(row)} for row in training.rows(summary.cells)]


def means(summary: Summary) -> list[View]:
    """Geometric means a technique and target."""
    return [
        {
            "technique": names.short(mean.technique, names.LONGEST_NAME),
            "target": names.short(mean.target, names.LONGEST_NAME),
            "class_": mean.class_ or "?",
            "value": formats.FACTOR(mean.value),
            "covered": mean.covered,
            "left_out": tally(mean.left_out) or "none",
        }
        for mean in summary.means
    ]


def groups(found: tuple[Group, ...]) -> list[View]:
    """Reasons with the cells, or gates of cells, that share each."""
    return [
        {
            "reason": names.short(group.reason, names.LONGEST_LINE),
            "number": sum(len(line.verdicts) for line in group.lines),
            "cells": [
                {**name(line.cell), "gates": "" if line.gates == EVERY else line.gates}
                for line in group.lines
            ],
        }
        for group in found
    ]


def overview(summary: Summary) -> list[View]:
    """A row a cell: the numbers behind the plots."""
    return [
        {
            **name(cell),
            "numbers": [_number(cell, gate) for gate in ("speed", "accuracy", "size", "memory")],
            "pareto": cell.key in summary.pareto,
            "trains": cell.trains,
        }
        for cell in summary.cells
    ]


def _number(cell: Cell, gate: str) -> tuple[str, str]:
    verdict = cell.gate(f"training_{gate}" if cell.trains else gate)
    if verdict is None or verdict.get("value") is None:
        return "", formats.ABSENT
    return f"{verdict['value']:.6g}", formats.measured(verdict)


def section(cell: Cell, level: int) -> View:
    """Everything about a cell. level 0: all; 1: no sample plots; 2: gates and the command only."""
    return {
        **name(cell),
        "commands": _commands(cell.verdicts),
        "family": cell.family or formats.ABSENT,
        "gates": [
            _gate(line, 200 if level > 1 else names.LONGEST_TEXT) for line in lines_of([cell])
        ],
        "details": detail.details(cell) if level < 2 else [],
        "plots": view_plots.plots(cell) if level == 0 else [],
        "samples": view_plots.samples(cell, plots=level == 0) if level < 2 else [],
        "loads": serving_charts.charts(cell) if level == 0 else "",
    }


def _gate(line: Line, most: int) -> View:
    limit = line.first.get("limit") or {}
    return {
        "name": line.gates,
        "status": line.status,
        "measured": formats.measured(line.first),
        "limit": line.limit,
        "source": limit.get("source") or "",
        "reason": names.short((line.first.get("reason") or "").strip(), most),
    }


def aa(run: Record) -> list[View]:
    """The A/A cells of a run."""
    return [
        {
            "model": names.short(cell["model"], names.LONGEST_NAME),
            "of": names.short(cell.get("of") or "inference", 60),
            "target": names.short(cell["target"], names.LONGEST_NAME),
            "ratio": formats.measured({"gate": "speed", **cell}),
            "sd": formats.PERCENT(cell.get("sd")),
            "processes": formats.ABSENT if cell.get("processes") is None else cell["processes"],
            "result": "contaminated" if cell.get("contaminated") else "within the noise",
        }
        for cell in run.get("aa") or []
    ]


def models(run: Record) -> list[View]:
    """The baselines of a run."""
    return [
        {
            "name": names.short(name, names.LONGEST_NAME),
            "architecture": names.short(model.get("architecture") or formats.ABSENT, 80),
            "parameters": formats.whole(model.get("parameters")),
            "score": ", ".join(
                f"{formats.PERCENT(score)} {names.short(target, 60)}"
                for target, score in (model.get("score") or {}).items()
            )
            or formats.ABSENT,
            "evaluation": _evaluation(model),
            "train": formats.seconds(model.get("train_seconds")),
            "sha": (model.get("sha256") or formats.ABSENT)[:13],
        }
        for name, model in (run.get("models") or {}).items()
    ]


def _evaluation(model: Record) -> str:
    if model.get("evaluation") is None:
        return formats.ABSENT
    groups = model.get("groups")
    by = "" if groups is None else f" in {formats.count(groups, 'group')}"
    return formats.count(model["evaluation"], "sample") + by


def coverage(summary: Summary) -> str:
    """One sentence: measured, refused, crashed, not reached."""
    found = summary.coverage
    asked = found.seen if found.selected is None else found.selected
    refused = sum(not cell.measured and cell.status == "REFUSED" for cell in summary.cells)
    crashed = sum(not cell.measured and cell.status == "ERROR" for cell in summary.cells)
    text = f"{found.measured} of {formats.count(asked, 'cell')} were measured, {refused} refused, "
    return f"{text}{crashed} crashed, {found.missing} not reached."
