"""The ratio of two rates, from a few processes a side: the replicate is the process.

Student's t on logarithms with the pooled variance of both sides (Student, 1908), at the levels of
the accuracy gate.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from gauge.margins import FAIL_LEVEL, PASS_LEVEL

RESOLUTION = 0.03 / math.sqrt(12)
"""Least SD of a process's log-rate: rates are looked for in steps of about 3 %, so that two equal
ones are no proof that a third would be the same."""


class Ratio(NamedTuple):
    """low, high: one-sided 95 % bounds, for a PASS. least, most: 99.5 %, for a FAIL."""

    value: float
    low: float
    high: float
    least: float
    most: float

    @property
    def inverse(self) -> Ratio:
        """The same of one over the rates: seconds, or money."""
        value, low, high, least, most = (math.inf if one == 0 else 1 / one for one in self)
        return Ratio(value, high, low, most, least)


def ratio(old: Sequence[float], new: Sequence[float]) -> Ratio:
    """new over old, positive rates of one process each; bounds of 0 and infinity for one a side.

    ValueError where a side has none.
    """
    from scipy import special

    if not old or not new:
        raise ValueError("a ratio of rates needs a process on either side")
    sides = [[math.log(rate) for rate in side] for side in (old, new)]
    shift = statistics.fmean(sides[1]) - statistics.fmean(sides[0])
    freedom = len(old) + len(new) - 2
    if freedom < 1:
        return Ratio(math.exp(shift), 0.0, math.inf, 0.0, math.inf)
    squares = sum(statistics.pvariance(side) * len(side) for side in sides)
    sigma = max(math.sqrt(squares / freedom), RESOLUTION)
    error = sigma * math.sqrt(1 / len(old) + 1 / len(new))
    sure, surer = (float(special.stdtrit(freedom, one)) * error for one in (PASS_LEVEL, FAIL_LEVEL))
    ends = (shift - sure, shift + sure, shift - surer, shift + surer)
    return Ratio(math.exp(shift), *map(_exp, ends))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
