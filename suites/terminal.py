"""What a person reads in the terminal: the heading, each test's word, and the summary."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports import auto_chart, deployment, edge, formats, records, serving, waivers
from reports.summarize import Line, Summary, chance, gate_name, summarize
from reports.terminal import HEAD, TrainingRow, terminal_table, training_table
from suites import keeping
from suites.builds import BUILD
from suites.durations import spoken
from suites.required import left_out
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
    shard = f" (shard {run.settings.shard})" if run.settings.shard else ""
    what = "to build" if run.settings.stage == BUILD else formats.count(len(run.selected), "gate")
    lines = [
        f"optgauge: {formats.count(len(run.asked_cells), 'cell')}{shard}, {what}, "
        f"about {spoken(run.remaining())}",
        f"threads: {run.settings.threads.count} ({run.settings.threads.reason})",
    ]
    return lines + run.engine.notices + before(run)


def before(run: Run) -> list[str]:
    """What will stand against a release whatever is measured, where this run is to be one."""
    if run.settings.gate != "release":
        return []
    stands = [*left_out(run), *(one.line for one in waivers.stale(run.policy_part, []))]
    lines = stands[:MOST_REASONS]
    more = [f"  … and {len(stands) - len(lines)} more"] if len(stands) > len(lines) else []
    start = ["this run cannot be released, whatever it measures:"] if lines else []
    return [*start, *(f"  {line}" for line in lines), *more]


def lacking(run: Run) -> list[str]:
    """What stands against a release beside gates that fail; a nightly run says it in good time."""
    release = run.settings.gate == "release"
    found = [one.text for one in run.unmet] + [one.line for one in run.stale_waivers]
    shown = found[:MOST_FAILURES]
    if shown:
        fails = "this fails the release" if release else "--gate release will fail for this"
        shown = [f"{fails}:", *(f"  {line}" for line in shown)]
    if len(found) > MOST_FAILURES:
        shown.append(f"  … and {len(found) - MOST_FAILURES} more in the report")
    if release and not run.policy.required:
        shown.append(
            f"{run.header['policy']} has no [[require]]: what is refused or not asked for does not "
            "stop a release"
        )
    return shown


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
    tables = [*_picks(read, width), *_trainings(read, width), *_found(run), *_edge(found, width)]
    for line in single_spaced([*tables, *_deployments(found)]):
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
    for line in _history(run):
        reporter.write_line(line, yellow=True)
    colour = {"red" if run.settings.gate == "release" else "yellow": True}
    for line in lacking(run):
        reporter.write_line(line, **colour)
    for line in run.told:
        reporter.write_line(line)
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


def single_spaced(lines: Sequence[str]) -> list[str]:
    """No two empty lines together: a table has one above and one below."""
    return [line for before, line in itertools.pairwise(["x", *lines]) if before or line]


def _picks(found: records.Records, width: int) -> list[str]:
    rows = terminal_table(found)
    if not rows:
        return []
    several = len({row.target for row in rows}) > 1
    place = ("model", *(["target"] if several else []), "class_")
    numbers = ("speedup", "drop", "size")
    words = [getattr(HEAD, name) for name in (*place, "technique")]
    texts = []
    for row in rows:
        technique = row.technique or f"none: {row.note}"
        cells = [*(getattr(row, name) for name in place), technique]
        texts.append(cells + [getattr(row, name) or "-" for name in numbers])
    lines = _table(words, [getattr(HEAD, name) for name in numbers], texts, width)
    return ["", "fastest that keeps the accuracy, by class:", *lines, f"  {CLASSES}", ""]


def _trainings(found: records.Records, width: int) -> list[str]:
    rows = training_table(found)
    if not rows:
        return []
    heads = [name.replace("_", " ") for name in TrainingRow._fields]
    lines = _table(heads[:3], heads[3:], rows, width)
    return ["", "training, against FP32 training:", *lines, ""]


def _table(
    words: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[str]:
    """Lines of a table: first columns of words, which fold, then columns of numbers."""
    table = Table(box=None, pad_edge=False)
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, no_wrap=True, justify="right")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [f"  {line.rstrip()}" for line in console.file.getvalue().splitlines()]


def _found(run: Run) -> list[str]:
    """What each automatic cell has found, and how to have it again without a search."""
    lines = []
    for record in run.records.values():
        found = record["evidence"].get("found") if record["gate"] == "evidence" else None
        if found:
            lines.append(f"{record['id']} found {found['pipeline']} (class {record['class']})")
            lines += [f"  {line}" for line in auto_chart.batches(found)]
            lines.append(f"  without a search: {found['command']}")
            lines += [f"  {line}" for line in auto_chart.undecided(found)]
    return [*lines, ""] if lines else []


def _edge(found: Summary, width: int) -> list[str]:
    """What each artifact takes of a small device."""
    lines: list[str] = []
    for (model, target), rows in edge.tables(found.cells).items():
        titles = [title.lower() for title in edge.COLUMNS.values()]
        texts = [
            [cell.technique, *("-" if one == formats.ABSENT else one for one in numbers)]
            for cell, numbers in rows
        ]
        table = _table(["technique"], titles, texts, width)
        lines += ["", f"{model} on {target}, on a small device:", *table]
    return [*lines, ""] if lines else []


def _deployments(found: Summary) -> list[str]:
    """Which artifact for edge, real time and cloud, what it gains, at what risk."""
    lines = []
    for one in found.choices:
        what = one.cell.technique if one.cell else "none"
        place = f"{one.model} on {one.target}, {deployment.NAMES[one.suite]}"
        lines += [f"  {place}: {what}", f"    {one.gain}", f"    risk: {one.risk}"]
        lines += [f"    {one.command}"] if one.command else []
    overhead = serving.overhead(found.cells)
    lines += [f"  {overhead}"] if overhead else []
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


def _history(run: Run) -> list[str]:
    """What a comparison with earlier runs says of the run as a whole."""
    found = run.compared
    if found is None:
        return []
    lines = [f"history: {found['reason']}"] if found["reason"] else []
    if found["accepted"]:
        compared = formats.count(found["compared"], "cell")
        lines.append(f"history: {compared} compared with the accepted run {found['accepted']}")
        missing = [] if keeping.part(run.header) else found["missing"]
        names = {"missing": missing, "new": found["new"], "faster": found["gains"]}
        names |= {"now refused or failed": found["errored"], "software": found["software"]}
        for what, cells in names.items():
            if cells:
                more = f" and {len(cells) - MOST_REASONS} more" if len(cells) > MOST_REASONS else ""
                lines.append(f"  {what}: {', '.join(cells[:MOST_REASONS])}{more}")
        renamed = found["renamed"].items()
        lines += [f"  {old} seems to be {now} now" for old, now in renamed if old in missing]
    if run.unkept:
        lines.append(f"history: NOT KEPT: {run.unkept}")
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
