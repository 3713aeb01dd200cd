"""Did a candidate lose accuracy? Paired scores of the same samples, judged against a margin.

For 0/1 scores: Tango's score bound (gauge.tango) with exact guards where few samples differ, their
counts divided by the design effect where samples share a source (gauge.groups). For other scores: a
bootstrap over samples or groups. Nothing here imports torch; numpy and scipy are imported when
used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gauge.bootstrap import Bounds, drop_bounds
from gauge.groups import Design, design
from gauge.margins import FAIL_LEVEL, PASS_LEVEL, Counts, decide, may_fail, may_pass
from gauge.resolution import needed, resolvable
from gauge.tango import tango_bound
from gauge.verdict import Status

TANGO = "Tango 1998"

FEWEST_GROUPS = 8
"""Of right-or-wrong answers; fewer say too little about how their losses gather."""

FEWEST_FREE = 30
"""Of groups, or samples that stand alone, with other scores: fewer do not show how skewed drops
are, and exponential ones passed at the margin in 8 to 9 % of runs with 8 to 13 groups."""


@dataclass(frozen=True)
class Paired:
    """What a comparison found; drop, low, high and smallest_drop are fractions.

    low: one-sided 99.5 % lower bound of the drop (FAIL when over the margin). high: one-sided 95 %
    upper bound (PASS when under it). b, c: samples on which the baseline, the candidate is better.
    rho: the share of samples that differ, or what is equivalent for other scores and for groups.
    smallest_drop: the smallest margin this many samples can decide. design: how many of the samples
    weigh as much as an independent one.
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
    design: float = 1.0
    reason: str | None = None


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
    binary = bool((np.isin(old, (0, 1)) & np.isin(new, (0, 1))).all())
    found = design(old - new, groups)
    spread = 1.0 if binary else _spread(old, new)
    bounds = (
        _binary_bounds(b, c, n, found) if binary else drop_bounds(old - new, groups, seed, spread)
    )
    rho = n * bounds.error**2
    result = Paired(
        status=Status.NO_EXPECTATION,
        drop=float((old - new).mean()),
        low=bounds.low,
        high=bounds.high,
        n=n,
        b=b,
        c=c,
        groups=found.groups,
        method=bounds.method,
        rho=rho,
        smallest_drop=resolvable(n, rho, found.reckoned, found.degrees),
        design=found.reckoned,
    )
    if margin is None:
        return result
    # Rounding differs in every sample, and says nothing about samples that lose much.
    lost, gained = (int((sign * (old - new) > margin).sum()) for sign in (1, -1))
    counts = Counts(lost, gained, n)
    few = _few(result, margin, binary)
    if few:
        return replace(result, status=Status.INCONCLUSIVE, reason=few)
    share = min(1, margin / spread)
    passing, failing = counts.over(found.reckoned), counts.over(found.seen)
    allowed = may_pass(passing, share), may_fail(failing, share)
    status = decide(result.low, result.high, margin, allowed)
    return replace(result, status=status, reason=_reason(result, margin, status, found))


def _spread(old: Any, new: Any) -> float:
    """How far a sample's score can fall: 1 for scores from 0 to 1, else the range that was seen."""
    return max(1.0, float(max(old.max(), new.max()) - min(old.min(), new.min())))


def _binary_bounds(b: int, c: int, n: int, found: Design) -> Bounds:
    passing, failing = Counts(b, c, n).over(found.reckoned), Counts(b, c, n).over(found.seen)
    grouped = f", design effect {found.reckoned:.1f}" if found.groups is not None else ""
    return Bounds(
        low=tango_bound(*failing, FAIL_LEVEL, upper=False, degrees=found.degrees),
        high=tango_bound(*passing, PASS_LEVEL, upper=True, degrees=found.degrees),
        error=math.sqrt(found.reckoned * (b + c)) / n,
        method=TANGO + grouped,
    )


def _few(result: Paired, margin: float, binary: bool) -> str | None:
    """Why nothing can be decided whatever the scores are, or None."""
    if binary and margin >= 1:
        return f"a limit of {_points(margin)} points allows every answer to be wrong: it is none"
    count = result.n if result.groups is None else result.groups
    least = FEWEST_GROUPS if binary else FEWEST_FREE
    if count >= least or (binary and result.groups is None):
        return None
    what = "samples" if result.groups is None else "groups of samples"
    return f"{count} {what}, and at least {least} decide"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _reason(result: Paired, margin: float, status: Status, found: Design) -> str | None:
    if status is Status.PASS:
        return None
    drop = (
        f"drop of {_points(result.drop)} points ({_points(result.low)} to {_points(result.high)}) "
        f"against {_points(margin)} allowed: {result.b} samples lost, {result.c} gained, "
        f"of {result.n}"
    )
    told = f"{drop}; these samples can decide {_points(result.smallest_drop)} points"
    if status is Status.FAIL:
        return told
    samples = needed(margin, result.rho, found.reckoned, found.degrees)
    if not math.isfinite(samples) or samples <= result.n or margin >= result.smallest_drop:
        return f"{told}; too close to the limit to tell"
    return f"{told}, the limit needs {in_groups(samples, result.n, found.groups)}"


def in_groups(samples: float, n: int, groups: int | None) -> str:
    """A number of samples in words, in groups as large as those that there are."""
    if groups is None:
        return f"{samples:.0f} samples"
    return f"{samples:.0f} samples in {math.ceil(samples * groups / n)} groups"
