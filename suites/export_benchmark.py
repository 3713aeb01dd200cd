"""Hands a speed test's samples to pytest-benchmark, for its export, histogram and comparison.

A verdict never depends on this: under pytest-xdist and `--benchmark-disable` only the export is
missing.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pytest

EXPORTS = ("json", "save", "save_data", "autosave", "histogram", "compare", "compare_fail")


class ReplayTimer:
    """A clock that replays recorded durations; a real one as long as nothing is recorded.

    pytest-benchmark reads the clock before and after each round, so every duration is two reads.
    """

    def __init__(self) -> None:
        self._reads: deque[float] = deque()

    def record(self, durations: list[float]) -> None:
        now = 0.0
        for duration in durations:
            self._reads += (now, now + duration)
            now += duration

    def __call__(self) -> float:
        return self._reads.popleft() if self._reads else time.perf_counter()


def wanted(config: pytest.Config) -> bool:
    """Whether an option asks pytest-benchmark for something that needs samples."""
    return any(config.getoption(f"benchmark_{name}", default=None) for name in EXPORTS)


def mark(model: str) -> pytest.MarkDecorator:
    """The marker of a test whose samples will be replayed; grouped by model in its tables."""
    return pytest.mark.benchmark(timer=ReplayTimer(), group=model)


def replay(request: pytest.FixtureRequest, record: dict[str, Any] | None) -> None:
    """Give the candidate's seconds a call to pytest-benchmark, when an option asks for them."""
    samples = (record or {}).get("candidate", {}).get("samples")
    marker = request.node.get_closest_marker("benchmark")
    if not record or not samples or marker is None:
        return
    benchmark = request.getfixturevalue("benchmark")
    if benchmark.disabled:
        return
    benchmark.extra_info.update(
        {key: record[key] for key in ("status", "value", "low", "high", "batch")},
        baseline_median_s=record["baseline"]["median_s"],
        **record["cell"],
    )
    marker.kwargs["timer"].record(samples)
    benchmark.pedantic(_nothing, rounds=len(samples), iterations=1)


def _nothing() -> None:
    """What is timed: the replayed clock says how long it took."""
