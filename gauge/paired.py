"""Did a candidate lose accuracy? Paired scores of the same samples, judged against a margin.

For 0/1 scores of independent samples: Tango's score interval (T. Tango, Statistics in Medicine 17,
1998) with exact guards where few samples differ. For other scores, and for samples in groups: a
bootstrap over groups. Nothing here imports torch; numpy and scipy are imported when used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from gauge.bootstrap import Bounds, drop_bounds
from gauge.verdict import Status

PASS_LEVEL = 0.95
FAIL_LEVEL = 0.995
"""One-sided levels of the upper bound that must clear the margin, the lower that must exceed it."""

TANGO = "Tango 1998"

FEW = 20
"""Below so many differing samples the normal approximation is too lax, so exact guards join in."""

FEWEST_GROUPS = 8
"""With fewer groups the bootstrap passed a drop at the margin up to three times too often."""


@dataclass(frozen=True)
class Paired:
    """What a comparison found; drop, low, high and smallest_drop are fractions.

    low: one-sided 99.5 % lower bound of the drop (FAIL when over the margin). high: one-sided 95 %
    upper bound (PASS when under it). b, c: samples on which the baseline, the candidate is better.
    rho: the share of samples that differ, or what is equivalent for other scores and for groups.
    smallest_drop: the smallest margin this many samples can decide.
    """

    status: Status
    drop: float
    low: float
    high: float
    n: int
    b: int
    c: int
    groups: int | None
    method: str
    rho: float
    smallest_drop: float
    reason: str | None = None


def tango_statistic(b: int, c: int, n: int, drop: float) -> float:
    """Tango's score statistic of `(b - c) / n` against a true drop; it falls as `drop` rises.

    b, c: samples that only the baseline, only the candidate has right, of n. The probability of the
    second is estimated by maximum likelihood under the given drop, which has a closed form.
    """
    first = -b - c + (2 * n - b + c) * drop
    second = -c * drop * (1 - drop)
    only_candidate = (math.sqrt(max(0.0, first * first - 8 * n * second)) - first) / (4 * n)
    variance = n * (2 * only_candidate + drop * (1 - drop))
    difference = b - c - n * drop
    if variance <= 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)


def tango_bound(b: int, c: int, n: int, level: float, upper: bool) -> float:
    """One-sided score bound of the drop at a confidence level such as 0.95."""
    if not 0 <= b + c <= n or min(b, c) < 0 or n == 0:
        raise ValueError(f"b={b} and c={c} of n={n} are no counts of pairs")
    z = NormalDist().inv_cdf(level)
    low, high = ((b - c) / n, 1.0) if upper else (-1.0, (b - c) / n)
    target = -z if upper else z
    for _ in range(60):
        middle = (low + high) / 2
        if tango_statistic(b, c, n, middle) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def tango_interval(b: int, c: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval of the drop `(b - c) / n`."""
    level = (1 + confidence) / 2
    return tango_bound(b, c, n, level, upper=False), tango_bound(b, c, n, level, upper=True)


def at_most(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k), summed exactly; meant for small k."""
    if k >= n or p <= 0:
        return 1.0 if k >= 0 else 0.0
    if k < 0 or p >= 1:
        return 0.0
    total = math.lgamma(n + 1)
    logs = (
        total
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(p)
        + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))


def mcnemar(b: int, c: int) -> float:
    """One-sided p of losing as many samples by chance, were losses and gains alike.

    McNemar's exact test (Psychometrika, 1947): P(Bin(b + c, 1/2) >= b). It sees drops far below a
    limit that the samples can decide, so it alarms and decides nothing. 1 where nothing differs.
    """
    return at_most(c, b + c, 0.5)


def guards(b: int, c: int, n: int, margin: float) -> tuple[bool, bool]:
    """Whether the exact tests let PASS and FAIL stand; both do when many samples differ.

    A drop of `margin` needs at least that share of samples on which the baseline is better.
    """
    if b + c >= FEW:
        return True, True
    may_pass = at_most(b, n, margin) <= 1 - PASS_LEVEL
    may_fail = 1 - at_most(b - c - 1, n, margin) <= 1 - FAIL_LEVEL
    return may_pass, may_fail


def decide(low: float, high: float, margin: float, allowed: tuple[bool, bool]) -> Status:
    """PASS, FAIL or INCONCLUSIVE from the bounds of a drop; NaN decides nothing."""
    may_pass, may_fail = allowed
    if high < margin and may_pass:
        return Status.PASS
    if low > margin and may_fail:
        return Status.FAIL
    return Status.INCONCLUSIVE


def resolvable(n: int, rho: float) -> float:
    """The smallest margin that n samples decide (power 0.9) when a share rho of them differs.

    Even without any difference, fewer than log(.05) / log(1 - margin) samples cannot PASS.
    """
    if n < 1:
        return 1.0
    return min(1.0, max(math.sqrt(8.6 * rho / n), -math.expm1(math.log(1 - PASS_LEVEL) / n)))


def needed(margin: float, rho: float) -> float:
    """The samples that a margin needs when a share rho of them differs; infinite for none."""
    if margin <= 0:
        return math.inf
    if margin >= 1:
        return 1
    guard = math.log(1 - PASS_LEVEL) / math.log1p(-margin)
    return math.ceil(max(8.6 * rho / margin**2, guard))


def compare(
    baseline: Any,
    candidate: Any,
    margin: float | None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> Paired:
    """Judge the drop of the mean score against a margin (a fraction; None: measure only).

    baseline, candidate: finite scores [n] of the same samples in the same order; higher is better.
    groups: one id a sample, equal for samples that share a source. ValueError for scores that do
    not pair.
    """
    import numpy as np

    old, new = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    if old.ndim != 1 or old.shape != new.shape or not old.size:
        raise ValueError(f"scores of shapes {old.shape} and {new.shape} do not pair")
    if groups is not None and len(groups) != len(old):
        raise ValueError(f"{len(groups)} group ids for {len(old)} samples")
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        raise ValueError("scores are not finite")
    n, b, c = len(old), int((old > new).sum()), int((new > old).sum())
    bounds = _bounds(old, new, groups, seed)
    rho = n * bounds.error**2
    result = Paired(
        status=Status.NO_EXPECTATION,
        drop=float((old - new).mean()),
        low=bounds.low,
        high=bounds.high,
        n=n,
        b=b,
        c=c,
        groups=None if groups is None else len(set(groups)),
        method=bounds.method,
        rho=rho,
        smallest_drop=resolvable(n, rho),
    )
    return result if margin is None else _judged(result, margin, _spread(old, new))


def _spread(old: Any, new: Any) -> float:
    """How far a sample's score can fall: 1 for scores from 0 to 1, else the range that was seen."""
    return max(1.0, float(max(old.max(), new.max()) - min(old.min(), new.min())))


def _bounds(old: Any, new: Any, groups: Sequence[Any] | None, seed: int) -> Bounds:
    import numpy as np

    binary = bool((np.isin(old, (0, 1)) & np.isin(new, (0, 1))).all())
    if not binary:
        return drop_bounds(old - new, groups, seed, _spread(old, new))
    n, b, c = len(old), int((old > new).sum()), int((new > old).sum())
    tango = Bounds(
        low=tango_bound(b, c, n, FAIL_LEVEL, upper=False),
        high=tango_bound(b, c, n, PASS_LEVEL, upper=True),
        error=math.sqrt(b + c) / n,
        method=TANGO,
    )
    if groups is None:
        return tango
    # Where no sample differs the bootstrap sees no variance and would decide from a handful, so
    # grouped samples must also be enough as independent ones.
    grouped = drop_bounds(old - new, groups, seed, 1.0)
    return Bounds(
        low=min(grouped.low, tango.low),
        high=max(grouped.high, tango.high),
        error=max(grouped.error, tango.error),
        method=f"{grouped.method}, at least {TANGO}",
    )


def _judged(result: Paired, margin: float, spread: float) -> Paired:
    if result.groups is not None and result.groups < FEWEST_GROUPS:
        few = f"{result.groups} groups of samples, and at least {FEWEST_GROUPS} decide"
        return replace(result, status=Status.INCONCLUSIVE, reason=few)
    allowed = guards(result.b, result.c, result.n, min(1.0, margin / spread))
    status = decide(result.low, result.high, margin, allowed)
    return replace(result, status=status, reason=_reason(result, margin, status))


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _reason(result: Paired, margin: float, status: Status) -> str | None:
    if status is Status.PASS:
        return None
    drop = (
        f"drop of {_points(result.drop)} points ({_points(result.low)} to {_points(result.high)}) "
        f"against {_points(margin)} allowed: {result.b} samples lost, {result.c} gained, "
        f"of {result.n}"
    )
    if status is Status.FAIL:
        return drop
    samples = needed(margin, result.rho)
    if math.isfinite(samples) and samples > result.n:
        return f"{drop}; at this rate of differing samples the limit needs {samples:.0f} samples"
    return f"{drop}; too close to the limit to tell"
