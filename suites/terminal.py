"""What a person reads in the terminal: the heading, each test's word, and the summary."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from rich.table import Table

from reports import formats, records
from reports.summarize import Line, Summary, gate_name, summarize
from suites.durations import spoken

if TYPE_CHECKING:
    from reports.picks import Pick
    from suites.run import Run

MOST_FAILURES = 30
CLASSES = {"A": "same architecture", "B": "pruned", "C": "another one"}


def heading(run: Run) -> list[str]:
    """What is about to happen."""
    lines = [
        f"optgauge: {formats.count(len(run.asked_cells), 'cell')}, "
        f"{formats.count(len(run.selected), 'gate')}, about {spoken(run.remaining())}",
        f"threads: {run.settings.threads.count} ({run.settings.threads.reason})",
    ]
    return lines + run.engine.notices


def test_status(report: pytest.TestReport, *, verbose: bool) -> tuple[str, str, str] | None:
    """Category, letter and word: the verdict and its number instead of PASSED."""
    record: dict[str, Any] = report.optgauge  # type: ignore[attr-defined]
    if report.when != "call":
        return None
    category = report.outcome
    if hasattr(report, "wasxfail"):
        category = "xfailed"  # type: ignore[assignment]
    word = record["status"]
    if record.get("value") is not None:
        word = f"{word} {formats.measured(record)}"
    # Without -v no letters: hundreds of dots say less than the progress lines.
    return category, "", word if verbose else ""


def failure_line(record: dict[str, Any]) -> str:
    """One line for a gate that has just failed."""
    return f"{record['status']} {record['id']} {gate_name(record)}: {record['reason']}"


def summary(run: Run, reporter: Any) -> None:
    """The verdict, the table of picks, failures, and where the report is."""
    path = run.settings.report / records.FILE
    found = summarize(records.read(path))
    reporter.section("optgauge")
    reporter.write_line(f"{found.verdict}: {found.sentence}", bold=True)
    width = max(60, min(reporter._tw.fullwidth, 140))
    for line in _picks(found, width):
        reporter.write_line(line)
    for line in _failures(found):
        reporter.write_line(line)
    missing = found.counts.get("REFUSED", 0)
    if missing:
        reporter.write_line(f"{formats.count(missing, 'gate')} refused; the report says why")
    for notice in run.engine.notices if run.begun else []:
        reporter.write_line(notice, yellow=True)
    if run.header["aa_warning"]:
        reporter.write_line(run.header["aa_warning"], yellow=True)
    if run.header["contaminated"]:
        reporter.write_line(
            "CONTAMINATED: FP32 against its own copy came out different; "
            "no time of this run can be trusted",
            red=True,
        )
    reporter.write_line(f"report: {run.settings.report / 'index.html'}")


def _picks(found: Summary, width: int) -> list[str]:
    if not found.picks:
        return []
    table = Table(title="fastest that keeps the accuracy", title_justify="left", box=None)
    for name in ("model", "target", "changes", "technique", "speedup", "drop", "size"):
        table.add_column(name, overflow="fold", no_wrap=name == "speedup")
    for pick in found.picks:
        table.add_row(*_pick(pick))
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _pick(pick: Pick) -> list[str]:
    place = [pick.model, pick.target, CLASSES.get(pick.class_ or "", "-")]
    cell = pick.cell
    if cell is None:
        why = ", ".join(f"{count} {what}" for what, count in pick.instead)
        return [*place, f"none ({why})", "-", "-", "-"]
    speed, size = cell.gate("speed"), cell.gate("size")
    return [
        *place,
        cell.technique,
        formats.measured(speed) if speed else "-",
        formats.drop(cell.gate("accuracy")),
        formats.measured(size) if size else "-",
    ]


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


def _cell_name(line: Line) -> str:
    return "-".join(line.cell.key)
