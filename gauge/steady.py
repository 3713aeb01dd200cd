"""Is the ratio still moving when a process ends? A rank test for trend over a cell's processes.

A median over blocks means something only where no trend is left in them. What counts is the ratio
of the arms: each arm's own time drifts with the clock rate, which both share. Every process gives
Kendall's S of its blocks, counted after a harmless trend has been taken off (Mann, Econometrica 13,
1945; Sen, JASA 63, 1968, for the test against a slope other than none). Sums over processes are
compared with the normal distribution. Neighbouring blocks are alike, so the variance is that of S
under Gaussian AR(1) noise with a correlation of 0.4, after Hamed and Rao (J. Hydrology 204, 1998),
and not the smaller one of independent blocks. Simulated false alarms of a verdict without trend:
with that correlation at most 0.7 % however wide the noise is and 0.2 % where blocks have an SD of
3 %; with independent or heavy-tailed (t2) blocks at most 0.1 % and 0.02 %.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HARMLESS = 0.01
"""A trend this large from a process's first block to its last is let be, as a log-ratio.

The median is off by half of it at most: less than processes differ by.
"""

LEVEL = 0.008
"""Two-sided nominal level at the harmless trend."""

LEAST_BLOCKS = 4
"""A process with fewer blocks says nothing about a trend."""

_CORRELATION = 0.4
_WARM_UP = 0.02


@dataclass(frozen=True)
class Trend:
    """steady: None where no process has blocks enough. drift: change of the log-ratio from first
    to last block, median over processes (Theil-Sen). z: the test's normal deviate beyond the
    harmless trend, with the drift's sign, 0 within it.
    """

    steady: bool | None
    drift: float | None
    z: float | None
    processes: int

    def reason(self) -> str | None:
        """A sentence for a cell that is not steady, or None."""
        if self.steady is not False or self.drift is None:
            return None
        slower = "candidate" if self.drift < 0 else "baseline"
        return (
            f"not steady: the {slower} gets slower against the other side, by "
            f"{100 * math.expm1(abs(self.drift)):.1f} % from the first to the last block of a "
            f"process ({self.processes} processes). Look for what grows with the calls (a cache, a "
            "log, late compilation) or for load that came and went, and measure again"
        )


def judge(processes: Sequence[Sequence[float]]) -> Trend:
    """Judge the blocks' log-ratios of all processes of a verdict, each in the order taken."""
    known = [blocks for blocks in processes if len(blocks) >= LEAST_BLOCKS]
    if not known:
        return Trend(None, None, None, 0)
    spread = math.sqrt(sum(_variance(len(blocks)) for blocks in known))
    # One less: S moves in steps of two (the continuity correction).
    up = (sum(_kendall(blocks, HARMLESS) for blocks in known) - 1) / spread
    down = (-sum(_kendall(blocks, -HARMLESS) for blocks in known) - 1) / spread
    found = max(up, down)
    limit = statistics.NormalDist().inv_cdf(1 - LEVEL / 2)
    return Trend(
        steady=found <= limit,
        drift=statistics.median(drift(blocks) for blocks in known),
        z=math.copysign(found, up - down) if found > 0 else 0.0,
        processes=len(known),
    )


def drift(values: Sequence[float]) -> float:
    """Change from first to last: the Theil-Sen slope (median over all pairs) times the length."""
    if len(values) < 2:
        return 0.0
    pairs = itertools.combinations(enumerate(values), 2)
    return statistics.median((b - a) / (j - i) for (i, a), (j, b) in pairs) * (len(values) - 1)


def warming(values: Sequence[float]) -> bool:
    """Whether one arm's times (as logarithms) still move so much that the warm-up goes on.

    A rule of thumb and no test: more than 2 %, and more than neighbours differ by.
    """
    if len(values) < LEAST_BLOCKS:
        return False
    noise = statistics.median(abs(b - a) for a, b in itertools.pairwise(values))
    return abs(drift(values)) > max(_WARM_UP, 2 * noise)


def _kendall(values: Sequence[float], trend: float) -> int:
    """Pairs that rise less pairs that fall, after a line of that drift has been taken off."""
    last = len(values) - 1
    left = [value - trend * index / last for index, value in enumerate(values)]
    return sum((b > a) - (b < a) for a, b in itertools.combinations(left, 2))


@functools.cache
def _variance(count: int) -> float:
    """Variance of Kendall's S for so many Gaussian AR(1) values."""
    import numpy as np

    first, second = np.triu_indices(count, 1)
    likeness = _CORRELATION ** np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    differences = np.zeros((len(first), count))
    rows = np.arange(len(first))
    differences[rows, second], differences[rows, first] = 1, -1
    covariance = differences @ likeness @ differences.T
    scale = np.sqrt(np.diag(covariance))
    correlation = np.clip(covariance / np.outer(scale, scale), -1, 1)
    return float(2 / math.pi * np.arcsin(correlation).sum())
