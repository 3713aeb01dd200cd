"""Order statistics of samples: latency percentiles with upper bounds, and outliers counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

PERCENTILES = (50, 90, 99)
CONFIDENCE = 0.95
FENCE = 3.0
"""Tukey's outer fence: a value so many interquartile ranges beyond the quartiles is far out."""


def least(percentile: float, confidence: float = CONFIDENCE) -> int:
    """The fewest samples whose largest is an upper bound: the smallest n with 1 - p^n >= level."""
    return math.ceil(math.log1p(-confidence) / math.log(percentile / 100))


def table(samples: Sequence[float]) -> dict[str, Any]:
    """{"n", "p50", "p90", "p99"} of single-call times in s, each {"value", "high", "reason"}.

    value: the smallest sample that at least p % of the samples do not exceed. high: a one-sided
    95 % upper bound of the percentile, the smallest order statistic x_(k) with
    P(Bin(n, p) <= k - 1) >= .95, whatever the distribution (Conover, Practical Nonparametric
    Statistics, 3rd ed., 1999, section 3.2; samples taken as independent). value and high are
    None, with a reason, where the samples are too few for a bound.
    """
    ordered = sorted(samples)
    return {"n": len(ordered), **{f"p{p}": _entry(ordered, p) for p in PERCENTILES}}


def _entry(ordered: Sequence[float], percentile: int) -> dict[str, Any]:
    from scipy import stats

    count, needed = len(ordered), least(percentile)
    if count < needed:
        return {"value": None, "high": None, "reason": f"needs n ≥ {needed}, has {count}"}
    share = percentile / 100
    rank = int(stats.binom.ppf(CONFIDENCE, count, share)) + 1
    # Whole numbers: 100 * 0.07 is more than 7.
    place = -(-percentile * count // 100)
    return {"value": ordered[place - 1], "high": ordered[rank - 1], "reason": None}


def far_out(samples: Sequence[float]) -> int:
    """How many samples lie beyond Tukey's outer fences (Exploratory Data Analysis, 1977).

    They are counted and stay: a median does not mind them, and a machine that makes many is told.
    """
    import numpy as np

    if len(samples) < 4:
        return 0
    low, high = np.quantile(samples, [0.25, 0.75])
    reach = FENCE * (high - low)
    return int(sum(value < low - reach or value > high + reach for value in samples))


def median_interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """(low, high, coverage) of the median: order statistics, whatever the distribution.

    The narrowest symmetric pair that covers CONFIDENCE, or all of the samples where they are too
    few for it (below 6), with the coverage that it has: 1 - 2 P(Bin(n, 1/2) < k) for x_(k) to
    x_(n-k+1) (Conover, as above, section 3.2). Raises ValueError for no samples.
    """
    from scipy import stats

    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples have no median")
    count = len(ordered)

    def coverage(k: int) -> float:
        return float(1 - 2 * stats.binom.cdf(k - 1, count, 0.5))

    fitting = [k for k in range(1, count // 2 + 1) if coverage(k) >= CONFIDENCE]
    k = max(fitting, default=1)
    return ordered[k - 1], ordered[count - k], max(0.0, coverage(k))
