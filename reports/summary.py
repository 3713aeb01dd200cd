"""Writes summary.md: the verdict in Markdown, for a job's page, where HTML is not shown."""

from __future__ import annotations

import re
from pathlib import Path

from reports import formats, names, records, training, trust, view
from reports.picks import Pick
from reports.records import Records
from reports.summarize import Line, Summary, chance, summarize

SUMMARY = "summary.md"
MOST_BYTES = 1_000_000
"""A job's page holds 1 MiB; rows beyond the counts below are left out long before."""
_MOST_FAILING = 25
_MOST_PICKS = 100
_MOST_REASONS = 10

# An underscore inside a word is plain text; at its edges it starts emphasis.
_SPECIAL = re.compile(r"[\\`*\[\]|~#!{}]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def write(found: Records, directory: Path | str) -> Path:
    """Write summary.md into directory. Equal records give equal bytes."""
    path = Path(directory) / SUMMARY
    records.replace(path, markdown(found).encode("utf-8"))
    return path


def markdown(found: Records) -> str:
    """The summary as text, always under 1 MiB."""
    summary = summarize(found)
    parts = [
        f"# {view.SYMBOLS[summary.verdict]} {summary.verdict}",
        escape(summary.sentence),
        _counts(summary),
        _failing(summary),
        _lacking(summary),
        _triage(summary),
        _trust(summary),
        _recommended(summary),
        _training(summary),
        _deployment(summary),
        _coverage(summary),
        _commands(summary),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return _cut(text)


def escape(text: str) -> str:
    """Text that Markdown shows as it is: one line, no markup, no HTML, no cell's end."""
    text = names.plain(text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda match: "\\" + match[0], text)


def code(text: str) -> str:
    """Text as code inside a table's cell: the fence is longer than any run of backticks in it."""
    text = names.plain(text)
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * (max(runs, default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text.replace('|', chr(92) + '|')}{pad}{fence}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table of cells that are escaped already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _counts(summary: Summary) -> str:
    parts = [
        f"{view.SYMBOLS[status]} {number} {escape(status)}"
        for status, number in summary.counts.items()
    ]
    return "Gates: " + ", ".join(parts) if parts else ""


def _failing(summary: Summary) -> str:
    if not summary.failing:
        return "No gate fails."
    shown = summary.failing[:_MOST_FAILING]
    head = ["Cell", "Gate", "Measured", "Limit", "Cause", "Repeat"]
    more = len(summary.failing) - len(shown)
    rest = f"\n\n{more} more are in index.html." if more else ""
    return "## Failing gates, worst first\n\n" + table(head, [_line(line) for line in shown]) + rest


def _lacking(summary: Summary) -> str:
    """What a release fails for beside its gates, a line each."""
    found = view.lacking(summary)
    if not found:
        return ""
    items = [f"- {escape(names.short(line))}" for line in found[:_MOST_FAILING]]
    if more := len(found) - len(items):
        items.append(f"- {more} more are in index.html")
    return f"## {view.lacking_title(summary)}\n\n" + "\n".join(items)


def _triage(summary: Summary) -> str:
    rows = [
        [
            code(names.short(line.cell.name, names.LONGEST_NAME)),
            f"{view.SYMBOLS[line.status]} {line.gates}",
            formats.measured(line.first),
            line.limit,
            formats.probability(chance(line.first)["p"]),
            formats.probability(chance(line.first)["q"]),
        ]
        for line in summary.triage[:_MOST_FAILING]
    ]
    if not rows:
        return ""
    head = ["Cell", "Gate", "Measured", "Limit", "p", "q"]
    return "\n\n".join(["## Triage, surest first", view.triage_text(summary), table(head, rows)])


def _deployment(summary: Summary) -> str:
    rows = [
        [
            code(names.short(f"{row['model']} · {row['target']}", names.LONGEST_NAME)),
            row["suite"],
            code(row["cell"]["technique"]) if row["cell"] else "none",
            escape(row["gain"]),
            escape(row["risk"]),
        ]
        for row in view.deployments(summary)[:_MOST_PICKS]
    ]
    head = ["Model", "For", "Artifact", "Over FP32", "Risk"]
    return "## Deployment\n\n" + table(head, rows) if rows else ""


def _line(line: Line) -> list[str]:
    command = line.first.get("command")
    return [
        code(names.short(line.cell.name, names.LONGEST_NAME)),
        f"{view.SYMBOLS[line.status]} {line.gates}",
        formats.measured(line.first),
        line.limit,
        escape(names.first_line(line.first.get("reason")) or "no reason given"),
        code(names.short(command, names.LONGEST_LINE)) if command else formats.ABSENT,
    ]


def _trust(summary: Summary) -> str:
    lines = [
        f"- {view.SYMBOLS[check.state]} {check.title}: {escape(names.short(check.found))}"
        + (f" {escape(check.advice)}" if check.advice else "")
        for check in trust.checks(summary)
    ]
    return "## Can it be trusted\n\n" + "\n".join(lines)


def _recommended(summary: Summary) -> str:
    kept = [pick for pick in summary.picks if pick.cell]
    paying = [pick for pick in kept if pick.pays is not False]
    if not kept:
        return ""
    head = ["Class", "Model", "Target", "Technique", "Over eager FP32", "Over the best FP32",
            "Accuracy drop", "Size"]  # fmt: skip
    rows = [_pick(pick) for pick in paying[:_MOST_PICKS]]
    rest = []
    if len(paying) > len(rows):
        rest.append(f"{len(paying) - len(rows)} more are in index.html.")
    if slower := len(kept) - len(paying):
        places = formats.count(slower, "place", "places")
        rest.append(f"In {places} nothing that keeps the accuracy is faster than eager FP32.")
    parts = [
        "## Recommended",
        "The fastest cell of each model, target and class that keeps the accuracy.",
        table(head, rows) if rows else "",
        " ".join(rest),
    ]
    return "\n\n".join(part for part in parts if part)


def _pick(pick: Pick) -> list[str]:
    row = view.pick(pick)
    return [
        row["cell"]["class_"],
        code(row["model"]),
        code(row["target"]),
        code(row["cell"]["technique"]),
        row["speed"],
        escape(" ".join(filter(None, row["against"]))),
        row["drop"],
        row["size"],
    ]


def _training(summary: Summary) -> str:
    rows = [
        [
            code(names.short(row.cell.name, names.LONGEST_NAME)),
            f"{view.SYMBOLS[row.cell.status]} {row.cell.status}",
            *map(escape, (row.rates, row.speed, row.memory, row.drop, row.taken)),
        ]
        for row in training.rows(summary.cells)[:_MOST_PICKS]
    ]
    if not rows:
        return ""
    head = ["Cell", "Verdict", "Steps a second", "Speedup", "Memory", "Accuracy drop",
            "Steps taken"]  # fmt: skip
    return "\n\n".join(["## Training, against FP32 training", table(head, rows)])


def _coverage(summary: Summary) -> str:
    lines = [f"## Coverage\n\n{view.coverage(summary)}"]
    for title, groups in (
        ("Crashed", summary.coverage.errored),
        ("Refused", summary.coverage.refused),
    ):
        if not groups:
            continue
        items = [
            f"- {formats.count(len(group.lines), 'cell')}: {escape(names.short(group.reason))}"
            for group in groups[:_MOST_REASONS]
        ]
        more = len(groups) - len(items)
        items += [f"- {more} more reasons are in index.html"] if more else []
        lines.append(f"{title}:\n\n" + "\n".join(items))
    return "\n\n".join(lines)


def _commands(summary: Summary) -> str:
    lines = []
    if summary.run.get("command"):
        lines.append("Measured by " + code(names.short(summary.run["command"], 1000)))
    lines.append("Shown again without measuring by `python -m reports render DIR`")
    return "  \n".join(lines)


def _cut(text: str) -> str:
    content = text.encode("utf-8")
    if len(content) <= MOST_BYTES:
        return text
    whole = content[:MOST_BYTES].decode("utf-8", "ignore").rpartition("\n")[0]
    return whole + "\n\nCut off here: the rest is in index.html.\n"
