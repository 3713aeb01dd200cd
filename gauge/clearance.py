"""How far a speed limit must stay below what a cell usually reaches, to be decidable at all."""

from __future__ import annotations

import math

CLEARANCE, CLEARANCE_SIGMAS = -math.log1p(-0.03), 2.5
"""How far below the usual value, as a log-ratio and in σ, a limit can still be decided."""


def too_near(limit: float, value: float, sigma: float) -> bool:
    """Whether a speed limit is nearer to the usual value than max(3 %, 2.5 sigma) below it.

    Such a cell is undecidable by nature. A number that is not finite counts as too near.
    """
    if not (limit > 0 and value > 0):
        return True
    distance = math.log(value / limit)
    # Two comparisons, not one with max(): max(a, nan) is a.
    return not (distance >= CLEARANCE and distance >= CLEARANCE_SIGMAS * sigma)


def clearance(sigma: float) -> float:
    """The factor that a speed limit must stay below the usual value (see `too_near`)."""
    return math.exp(max(CLEARANCE, CLEARANCE_SIGMAS * sigma))
