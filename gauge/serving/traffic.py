"""Traffic over time: a CSV of the user's, or a day with a burst."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HEADER = ["seconds", "rate"]
MOST_QUERIES = 20_000_000
HOUR = 60.0
"""Seconds that an hour of the built-in day takes: the day is played in 24 minutes."""
STEP = 10.0
BURST = (10 * HOUR, 11 * HOUR, 1.6)
"""Of the built-in day: from, to, times the rate."""


class TraceError(ValueError):
    """A mistake in a trace; the message names the file, the line, what was found and expected."""


@dataclass(frozen=True)
class Trace:
    """Rates in queries a second, each for `step` seconds, the first from second 0."""

    rates: tuple[float, ...]
    step: float
    name: str

    @property
    def seconds(self) -> float:
        return self.step * len(self.rates)

    @property
    def queries(self) -> float:
        """How many queries it stands for, on average."""
        return self.step * math.fsum(self.rates)

    def arrivals(self, seed: int) -> np.ndarray:
        """Times of queries in s, sorted: Poisson in every step."""
        random = np.random.default_rng(seed)
        parts = [
            place * self.step
            + np.sort(random.uniform(0, self.step, random.poisson(rate * self.step)))
            for place, rate in enumerate(self.rates)
        ]
        return np.concatenate(parts) if parts else np.empty(0)


def day(peak: float) -> Trace:
    """A day's curve with a burst: from a fifth of the peak at night to the peak in the afternoon.

    peak: queries a second. The burst comes in the morning and goes above the peak.
    """
    steps = round(24 * HOUR / STEP)
    times = STEP * np.arange(steps)
    shape = 0.6 - 0.4 * np.cos(2 * math.pi * (times / HOUR - 4) / 24)
    inside = (times >= BURST[0]) & (times < BURST[1])
    rates = peak * np.where(inside, BURST[2] * shape, shape)
    return Trace(tuple(map(float, rates)), STEP, "built-in day with a burst, 24 h in 24 min")


def read(path: Path) -> Trace:
    """A trace from a CSV with the columns `seconds,rate`, one line a step, steps of one length.

    Raises TraceError for gaps, times out of order, rates that are negative or no numbers.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise TraceError(f"{path.name}: cannot be read ({why})") from error
    rows = list(_rows(path.name, text))
    if len(rows) < 2:
        raise TraceError(
            f"{path.name}: found {'one line' if rows else 'no line'} of data, expected at least 2: "
            "the first two say how long a step is"
        )
    step = rows[1][1] - rows[0][1]
    for (_, before, _), (line, time, _) in itertools.pairwise(rows):
        where = f"{path.name}:{line}: found {time:g} s after {before:g} s"
        if time <= before:
            raise TraceError(f"{where}, expected times in order, each once")
        if abs(time - before - step) > 1e-6 * max(1.0, abs(time)):
            kind = "a gap" if time - before > step else "a shorter step"
            raise TraceError(
                f"{where}, which is {kind}: expected steps of {step:g} s as in the first two "
                "lines (write a rate of 0 where there was no traffic)"
            )
    trace = Trace(tuple(rate for _, _, rate in rows), step, path.name)
    if not trace.queries:
        raise TraceError(f"{path.name}: found rates of 0 only, expected some traffic")
    if trace.queries > MOST_QUERIES:
        raise TraceError(
            f"{path.name}: found {trace.queries:.3g} queries, expected at most "
            f"{MOST_QUERIES:,}: each is simulated; give a part of it, or a fraction of its rates"
        )
    return trace


def _rows(name: str, text: str) -> Iterator[tuple[int, float, float]]:
    """Line number, time and rate of every line of data."""
    lines = csv.reader(text.splitlines())
    header = [one.strip().lower() for one in next(lines, [])]
    if header != HEADER:
        raise TraceError(f"{name}:1: found {','.join(header)!r}, expected the header seconds,rate")
    for row in lines:
        line = lines.line_num
        if not row:
            raise TraceError(f"{name}:{line}: found an empty line, expected seconds,rate")
        numbers = [_number(cell) for cell in row]
        if len(numbers) != len(HEADER) or any(one is None for one in numbers):
            raise TraceError(
                f"{name}:{line}: found {','.join(row)!r}, expected two finite numbers: seconds,rate"
            )
        time, rate = numbers
        assert time is not None
        assert rate is not None
        if rate < 0:
            raise TraceError(f"{name}:{line}: found a rate of {rate:g}, expected 0 or more")
        yield line, time, rate


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
