"""--stage build: baselines and artifacts are made, nothing is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gauge.verdict import Status
from reports import formats
from suites.deadline import TimeUp
from suites.engine import Stopped

if TYPE_CHECKING:
    from suites.matrix import Cell
    from suites.run import Run

BUILD = "build"
"""What is asked of a cell in place of a gate."""

NOW = "built"
MOST_REASONS = 8


@dataclass
class Builds:
    """Counts the tests of suites/test_build.py as their reports come in."""

    asked: int = 0
    ready: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failed: int = 0

    def take(self, report: pytest.TestReport) -> None:
        """A report of one phase of a test; only the test's own call counts."""
        if report.when != "call":
            return
        self.asked += 1
        if report.passed:
            self.ready.update(str(v) for name, v in report.user_properties if name == NOW)
        elif report.failed:
            self.failed += 1
        elif isinstance(report.longrepr, tuple):
            self.reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1

    def exit_status(self, exitstatus: int, *, time_up: bool) -> int:
        """pytest's own, but for 2 where time was up, and 5 where nothing could be built."""
        if time_up:
            return int(pytest.ExitCode.INTERRUPTED)
        if exitstatus == pytest.ExitCode.OK and self.asked and not self.ready:
            return int(pytest.ExitCode.NO_TESTS_COLLECTED)
        return exitstatus

    def lines(self, cache: Path) -> Iterator[str]:
        """The summary for the terminal."""
        cached = self.ready.total() - self.ready[NOW]
        yield (
            f"{formats.count(self.asked, 'cell')}: {self.ready[NOW]} built now, {cached} built "
            f"already, {self.reasons.total()} not to be built, {self.failed} failed"
        )
        for reason, number in self.reasons.most_common(MOST_REASONS):
            yield f"  {formats.count(number, 'cell')}: {reason}"
        if self.ready:
            yield (
                f"everything is in {cache}; `python -m suites cache export FILE` carries it to "
                "another machine, `--stage measure` measures without building"
            )


def build(run: Run, cell: Cell) -> str:
    """Make a cell's artifact, and its baseline; whether it was `built` now.

    Ends the test as skipped where the cell is refused or the time is up, as failed by an error.
    """
    engine = run.engine
    before, missing = engine.built, engine.probe(cell.target)["missing"]
    try:
        if missing:
            engine.weights(cell.model)
            pytest.skip(f"REFUSED: {missing}: only the baseline was trained here")
        engine.artifact(cell)
    except TimeUp as up:
        run.time_up = str(up)
        pytest.skip(run.time_up)
    except Stopped as stopped:
        text = f"{stopped.status}: {stopped}"
        if stopped.status is Status.REFUSED:
            pytest.skip(text)
        pytest.fail(text, pytrace=False)
    return NOW if engine.built > before else "in the cache"
