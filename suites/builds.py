"""What --stage build has built so far, and what it says at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reports import formats

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
            self.ready.update(value for name, value in report.user_properties if name == NOW)
        elif report.failed:
            self.failed += 1
        elif isinstance(report.longrepr, tuple):
            self.reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1

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
