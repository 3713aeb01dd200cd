"""Bounds of a mean paired difference by a bootstrap over groups of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

RESAMPLES = 4_999
LOW_TAIL, HIGH_TAIL = 0.005, 0.05
"""What the lower and the upper bound leave outside: see gauge.paired."""


class Bounds(NamedTuple):
    """error: the standard error of the mean difference, groups taken into account."""

    low: float
    high: float
    error: float
    method: str


def drop_bounds(differences: Any, groups: Sequence[Any] | None, seed: int, spread: float) -> Bounds:
    """One-sided 99.5 % lower and 95 % upper bound of the mean difference.

    differences: [n], baseline minus candidate. groups: one id a sample; None: each is its own.
    spread: the largest difference possible, which bounds what a single group can tell.

    Each bound is the wider of two: the percentile bound with its tail widened for few groups
    (T. Hesterberg, The American Statistician 69, 2015) and the t bound of the ratio estimator.
    Simulated with 15 to 60 groups, the wider one passes a drop at the margin in 5 to 9 % of runs;
    the plain percentile bound did in up to 14 %.
    """
    import numpy as np

    sums, sizes = _by_group(differences, groups)
    count, total = len(sums), float(sizes.sum())
    method = f"bootstrap over {'samples' if groups is None else 'groups'}"
    if count < 2:
        return Bounds(-spread, spread, spread, method)
    mean = float(sums.sum()) / total
    residuals = sums - mean * sizes
    error = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Bounds(mean, mean, 0.0, method)
    from scipy import special

    distribution = _resample(sums, sizes, seed)
    bounds = []
    for tail, sign in ((LOW_TAIL, -1), (HIGH_TAIL, 1)):
        t = -float(special.stdtrit(count - 1, tail))
        wide = float(special.ndtr(-math.sqrt(count / (count - 1)) * t))
        percentile = float(np.quantile(distribution, wide if sign < 0 else 1 - wide))
        bounds.append((min if sign < 0 else max)(percentile, mean + sign * t * error))
    return Bounds(bounds[0], bounds[1], error, method)


def _by_group(differences: Any, groups: Sequence[Any] | None) -> tuple[Any, Any]:
    """Sum of the differences and number of samples of each group."""
    import numpy as np

    values = np.asarray(differences, dtype=float)
    if groups is None:
        return values, np.ones(len(values))
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(member, weights=values), np.bincount(member).astype(float)


def _resample(sums: Any, sizes: Any, seed: int) -> Any:
    """The bootstrap distribution of the mean difference, whole groups drawn with replacement."""
    import numpy as np
    from scipy.stats import bootstrap

    def mean(total: Any, size: Any, axis: int = -1) -> Any:
        return total.sum(axis=axis) / size.sum(axis=axis)

    result = bootstrap(
        (sums, sizes),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        # Memory, not speed: some two million drawn numbers at a time.
        batch=max(1, 2_000_000 // len(sums)),
        rng=np.random.default_rng(seed),
    )
    return result.bootstrap_distribution
