"""--stage build: one test a cell, which trains its baseline and makes its artifact."""

from __future__ import annotations

from collections.abc import Callable

from suites.builds import build
from suites.matrix import Cell
from suites.run import Run


def test_build(cell: Cell, optgauge: Run, record_property: Callable[[str, object], None]) -> None:
    """The cell's artifact is in the cache."""
    record_property("built", build(optgauge, cell))
