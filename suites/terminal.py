"""What a person reads in the terminal: the heading, each test's word, and the summary."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports import deployment, edge, formats, records
from reports.summarize import Line, Summary, chance, gate_name, summarize
from reports.terminal import HEAD, terminal_table
from suites.durations import spoken
from suites.sections import WORDS

if TYPE_CHECKING:
    from suites.run import Run

MOST_FAILURES = 30
MOST_REASONS = 8
MOST_TRIAGE = 10
WIDE = 140
LEAST_WAIT_SECONDS = 1.0
CLASSES = "A: the same architecture; B: pruned or factorised from it; C: another one"


def heading(run: Run) -> list[str]:
    """What is about to happen."""
    lines = [
        f"optgauge: {formats.count(len(run.asked_cells), 'cell')}, "
        f"{formats.count(len(run.selected), 'gate')}, about {spoken(run.remaining())}",
        f"threads: {run.settings.threads.count} ({run.settings.threads.reason})",
    ]
    return lines + run.engine.notices


def test_status(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Category, letter and word: the verdict and its number instead of PASSED.

    No letter: without -v, hundreds of dots say less than the progress lines.
    """
    record: dict[str, Any] = report.optgauge  # type: ignore[attr-defined]
    if report.when != "call":
        return None
    category = "xfailed" if hasattr(report, "wasxfail") else report.outcome
    word = record["status"]
    if record.get("value") is not None:
        word = f"{word} {formats.measured(record)}"
    if (smallest := record["evidence"].get("smallest_drop")) is not None:
        word = f"{word}, decides {formats.POINTS(smallest)}"
    return category, "", word


def failure_line(record: dict[str, Any]) -> str:
    """One line for a gate that has just failed."""
    return f"{record['status']} {record['id']} {gate_name(record)}: {record['reason']}"


def summary(run: Run, reporter: Any) -> None:
    """The verdict, the table of picks, failures, and where the report is."""
    path = run.settings.report / records.FILE
    read = records.read(path)
    found = summarize(read)
    reporter.section("optgauge")
    reporter.write_line(f"{found.verdict}: {found.sentence}", bold=True)
    # A file or a CI log has no width to keep to, and a folded name is hard to read or to copy.
    width = max(78, min(reporter._tw.fullwidth, WIDE)) - 2 if reporter.isatty else WIDE
    for line in _picks(read, width):
        reporter.write_line(line)
    for line in [*_edge(found, width), *_deployments(found)]:
        reporter.write_line(line)
    for line in _failures(found):
        reporter.write_line(line)
    for line in _triage(found):
        reporter.write_line(line)
    for line in _refusals(found):
        reporter.write_line(line)
    if run.unexported:
        reporter.write_line("pytest-benchmark was disabled: its export holds no samples")
    for notice in run.engine.notices if run.begun else []:
        reporter.write_line(notice, yellow=True)
    for notice in run.idle_waivers():
        reporter.write_line(notice, yellow=True)
    for line in _waits(run.header["waited_s"]):
        reporter.write_line(line)
    if run.header["aa_warning"]:
        reporter.write_line(run.header["aa_warning"], yellow=True)
    if run.header["contaminated"]:
        reporter.write_line(
            "CONTAMINATED: FP32 against its own copy came out different; "
            "no time of this run can be trusted",
            red=True,
        )
    reporter.write_line(f"report: {run.settings.report / 'index.html'}")


def _picks(found: records.Records, width: int) -> list[str]:
    rows = terminal_table(found)
    if not rows:
        return []
    several = len({row.target for row in rows}) > 1
    place = ("model", *(["target"] if several else []), "class_")
    numbers = ("speedup", "drop", "size")
    table = Table(box=None, pad_edge=False)
    for name in (*place, "technique"):
        table.add_column(getattr(HEAD, name), overflow="fold")
    for name in numbers:
        table.add_column(getattr(HEAD, name), no_wrap=True, justify="right")
    for row in rows:
        technique = row.technique or f"none: {row.note}"
        cells = [*(getattr(row, name) for name in place), technique]
        cells += [getattr(row, name) or "-" for name in numbers]
        table.add_row(*map(escape, cells))
    lines = _printed(table, width)
    return ["", "fastest that keeps the accuracy, by class:", *lines, f"  {CLASSES}", ""]


def _printed(table: Table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [f"  {line.rstrip()}" for line in console.file.getvalue().splitlines()]


def _edge(found: Summary, width: int) -> list[str]:
    """What each artifact takes of a small device."""
    lines: list[str] = []
    for (model, target), rows in edge.tables(found.cells).items():
        table = Table(box=None, pad_edge=False)
        table.add_column("technique", overflow="fold")
        for title in edge.COLUMNS.values():
            table.add_column(title.lower(), justify="right")
        for cell, numbers in rows:
            told = ["-" if one == formats.ABSENT else one for one in numbers]
            table.add_row(*map(escape, [cell.technique, *told]))
        lines += ["", f"{model} on {target}, on a small device:", *_printed(table, width)]
    return [*lines, ""] if lines else []


def _deployments(found: Summary) -> list[str]:
    """Which artifact for edge, real time and cloud, what it gains, at what risk."""
    lines = []
    for one in found.choices:
        what = one.cell.technique if one.cell else "none"
        place = f"{one.model} on {one.target}, {deployment.NAMES[one.suite]}"
        lines.append(f"  {place}: {what}, {one.gain}; risk: {one.risk}")
    return ["deployment, over FP32:", *lines] if lines else []


def _failures(found: Summary) -> list[str]:
    lines = []
    shown = found.failing[:MOST_FAILURES]
    if shown:
        lines.append(f"{formats.count(len(found.failing), 'failure')}, worst first:")
    for line in shown:
        lines.append(f"  {line.status} {_cell_name(line)} {line.gates}: {line.first['reason']}")
    if len(found.failing) > len(shown):
        lines.append(f"  … and {len(found.failing) - len(shown)} more in the report")
    if shown:
        lines.append(f"repeat one: {shown[0].first['command']}")
    return lines


def _triage(found: Summary) -> list[str]:
    """A nightly run's gates that judge by chance, in the order in which to look at them."""
    shown = found.triage[:MOST_TRIAGE]
    if not shown:
        return []
    of = chance(shown[0].first)["of"]
    lines = [f"triage, surest first (q: false discovery rate over {formats.count(of, 'gate')}):"]
    for line in shown:
        q = formats.probability(chance(line.first)["q"])
        number = f"{formats.measured(line.first)}, asked {line.limit}"
        lines.append(f"  q {q} {line.status} {_cell_name(line)} {line.gates}: {number}")
    if len(found.triage) > len(shown):
        lines.append(f"  … and {len(found.triage) - len(shown)} more in the report")
    return lines


def _refusals(found: Summary) -> list[str]:
    """Each reason once, with how many cells it stopped."""
    lines = []
    for group in found.coverage.refused[:MOST_REASONS]:
        cells = list(dict.fromkeys(_cell_name(line) for line in group.lines))
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        lines.append(f"refused: {cells[0]}{more}: {group.reason}")
    if len(found.coverage.refused) > MOST_REASONS:
        lines.append(
            f"refused: {len(found.coverage.refused) - MOST_REASONS} more reasons, in the report"
        )
    return lines


def _waits(seconds: dict[str, float]) -> list[str]:
    """How long jobs stood still so that no two times were taken at once."""
    parts = [
        f"{value:.0f} s for {WORDS[what]}"
        for what, value in seconds.items()
        if value >= LEAST_WAIT_SECONDS
    ]
    return [f"waited {' and '.join(parts)}"] if parts else []


def _cell_name(line: Line) -> str:
    return "-".join(line.cell.key)
