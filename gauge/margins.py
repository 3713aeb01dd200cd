"""When a drop's bounds and counts clear a margin: the rule by which accuracy is judged.

Nothing here imports torch; scipy is imported when used.
"""

from __future__ import annotations

from typing import NamedTuple

from gauge.tango import at_least, at_most
from gauge.verdict import Status

PASS_LEVEL = 0.95
FAIL_LEVEL = 0.995
"""One-sided levels of the upper bound that must clear the margin, the lower that must exceed it."""

FEW = 20
"""Below so many differing samples the normal approximation is too lax, so exact guards join in."""


class Counts(NamedTuple):
    """Samples lost and gained by more than the margin, of n; fractions where they are grouped."""

    b: float
    c: float
    n: float

    def over(self, effect: float) -> Counts:
        return Counts(self.b / effect, self.c / effect, self.n / effect)


def may_pass(counts: Counts, margin: float) -> bool:
    """Whether the exact test lets PASS stand; it does when many samples differ.

    A drop of `margin` needs at least that share of samples on which the baseline is better.
    """
    b, c, n = counts
    return b + c >= FEW or at_most(b, n, margin) <= 1 - PASS_LEVEL


def may_fail(counts: Counts, margin: float) -> bool:
    """Whether the exact test lets FAIL stand; it does when many samples differ."""
    b, c, n = counts
    return b + c >= FEW or at_least(b - c, n, margin) <= 1 - FAIL_LEVEL


def decide(low: float, high: float, margin: float, allowed: tuple[bool, bool]) -> Status:
    """PASS, FAIL or INCONCLUSIVE from the bounds of a drop; NaN decides nothing."""
    pass_allowed, fail_allowed = allowed
    if high < margin and pass_allowed:
        return Status.PASS
    if low > margin and fail_allowed:
        return Status.FAIL
    return Status.INCONCLUSIVE
