"""What a number of samples can decide: the smallest margin, and the samples that one needs.

A margin is decided when a candidate without a true drop passes with probability 0.9. Where few
samples differ this is computed from the counts that may come about and the rule that judges them
(gauge.margins), because the normal approximation promises too much there: with 6 differing
samples expected of 2,000, its margin passes in 42 % of runs. Nothing here imports torch;
scipy is imported when used.
"""

from __future__ import annotations

import functools
import math

from gauge.margins import PASS_LEVEL, Counts, may_pass
from gauge.tango import quantile, tango_statistic

POWER = 0.9
"""With which a margin is decided: what the smallest drop and the samples needed are told for."""

MANY = 100.0
"""Expected differing samples from which the normal approximation holds: its margin is within 1 % of
the computed one."""

_STEPS = 12
"""Halvings of a range of 1 to 1.5: to 0.01 % of the margin."""


@functools.lru_cache(maxsize=4096)
def resolvable(n: int, rho: float, effect: float = 1.0, degrees: int | None = None) -> float:
    """The smallest margin that n samples decide (power 0.9) when a share rho of them differs.

    Even without any difference, fewer than log(.05) / log(1 - margin) samples cannot PASS. effect:
    samples that weigh as much as an independent one; rho has it in it already. degrees: of freedom,
    where samples are grouped. A fraction, 1 where nothing can be decided.
    """
    if n < 1:
        return 1.0
    least = min(1.0, _least(n, effect, degrees))
    if not 0 < _differing(n, rho, effect) < MANY:
        return min(1.0, max(least, math.sqrt(_factor(degrees) * rho / n)))
    low, high = 0.0, least
    while high < 1 and power(n, high, rho, effect, degrees) < POWER:
        low, high = high, min(1.0, 1.5 * high)
    for _ in range(_STEPS if low else 0):
        middle = (low + high) / 2
        if power(n, middle, rho, effect, degrees) >= POWER:
            high = middle
        else:
            low = middle
    return high


def needed(margin: float, rho: float, effect: float = 1.0, degrees: int | None = None) -> float:
    """The samples that a margin needs when a share rho of them differs; infinite for none.

    Counts are whole, so that a few samples more may decide a little less, and some number below
    this one may do.
    """
    if not margin > 0:
        return math.inf
    if margin >= 1:
        return 1
    guard = math.log(1 - PASS_LEVEL) / math.log1p(-margin)
    score = quantile(PASS_LEVEL, degrees) ** 2 * (1 - margin) / margin
    least = math.ceil(effect * max(guard, score))
    many = math.ceil(max(_factor(degrees) * rho / margin**2, least))
    if not 0 < _differing(many, rho, effect) < MANY:
        return many
    low, high = least - 1, max(many, least)
    while power(high, margin, rho, effect, degrees) < POWER:
        if _differing(high, rho, effect) >= MANY:
            return high
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle, margin, rho, effect, degrees) >= POWER:
            high = middle
        else:
            low = middle
    return high


def power(
    n: float, margin: float, rho: float, effect: float = 1.0, degrees: int | None = None
) -> float:
    """With what probability a candidate without a true drop passes, exactly, for counts.

    The number of differing samples is binomial, and each is as likely lost as gained. Grouped
    samples are taken as n / effect independent ones, as the verdict takes them.
    """
    from scipy import special

    size = n / effect
    share = min(1.0, rho / effect)
    threshold = -quantile(PASS_LEVEL, degrees)
    expected = size * share
    reach = 6 * math.sqrt(expected) + 8
    total = 0.0
    for differing in range(max(0, int(expected - reach)), int(min(size, expected + reach)) + 1):
        chance = _binomial(differing, size, share)
        lost = _most_lost(differing, size, margin, threshold)
        if lost is not None:
            total += chance * float(special.bdtr(lost, differing, 0.5))
    return total


def _most_lost(differing: int, n: float, margin: float, threshold: float) -> int | None:
    """The most of the differing samples that may be lost and still PASS; None for not even 0."""
    low, high = -1, differing
    while low < high:
        lost = (low + high + 1) // 2
        counts = Counts(lost, differing - lost, n)
        clears = tango_statistic(*counts, margin) < threshold
        if clears and may_pass(counts, margin):
            low = lost
        else:
            high = lost - 1
    return None if low < 0 else low


def _binomial(k: int, n: float, p: float) -> float:
    """P(Bin(n, p) = k) for an n that may be a fraction."""
    if p >= 1:
        return 1.0 if k == int(n) else 0.0
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def _differing(n: float, rho: float, effect: float) -> float:
    return n * rho / effect**2


def _least(n: float, effect: float, degrees: int | None) -> float:
    """The margin that n samples decide when none differs."""
    guard = -math.expm1(effect * math.log(1 - PASS_LEVEL) / n)
    score = quantile(PASS_LEVEL, degrees) ** 2
    return max(guard, score / (n / effect + score))


def _factor(degrees: int | None) -> float:
    """The squared distance in standard errors that leaves room for both errors."""
    if degrees is None:
        return 8.6
    return (quantile(PASS_LEVEL, degrees) + quantile(POWER, degrees)) ** 2
