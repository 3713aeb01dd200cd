"""How a total error is spent over looks, and what each look may spend of it by itself.

K. Lan, D. DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70, 1983. The
nominal levels come from the recursive integration of P. Armitage, C. McPherson and B. Rowe
(Journal of the Royal Statistical Society A 132, 1969) for a Brownian motion.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

SMALLEST = 1e-12
"""No repeated p value is told smaller than this."""

Spending = Callable[[float, float], float]

_NODES = 120
_ROOT = math.sqrt(2 * math.pi)
# How far down and up the process is followed, and up to where a boundary is sought, in the
# process's own standard deviations.
_LOWEST, _HIGHEST, _BOUNDARY = -9.0, 12.0, 37.0


def obrien_fleming(total: float, share: float) -> float:
    """What may be spent when a share of the information is there; most of it is kept for the end.

    total: the error in the end, one-sided. share: above 0, at most 1.
    """
    from scipy.special import ndtr, ndtri

    return float(2 * ndtr(ndtri(total / 2) / share**0.5))


def pocock(total: float, share: float) -> float:
    """What may be spent when a share of the information is there; much of it early."""
    return total * math.log1p((math.e - 1) * share)


def nominal_levels(total: float, shares: Sequence[float], spend: Spending) -> list[float]:
    """One-sided p value that each look decides at, so that together they err as often as `total`.

    shares: the information at each look, rising, the last at most 1.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import ndtr

    if not 0 < total < 1:
        raise ValueError(f"a total error of {total} is no probability to spend")
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    levels: list[float] = []
    spent, before = 0.0, 0.0
    where, mass = np.zeros(1), np.ones(1)
    for share in shares:
        step, scale = (share - before) ** 0.5, share**0.5
        now = spend(total, share)
        wanted = now - spent

        def excess(z: float, where: Any = where, mass: Any = mass, step: float = step,
                   scale: float = scale, wanted: float = wanted) -> float:  # fmt: skip
            """The probability to be above z here for the first time, less what may be spent."""
            return float(mass @ ndtr((where - z * scale) / step)) - wanted

        z = brentq(excess, _LOWEST, _BOUNDARY, xtol=1e-8)
        levels.append(float(ndtr(-z)))
        end = min(z, _HIGHEST) * scale
        start = _LOWEST * scale
        grid = (points + 1) / 2 * (end - start) + start
        density = np.exp(-(((grid[:, None] - where) / step) ** 2) / 2) @ mass / step / _ROOT
        where, mass = grid, density * weights * (end - start) / 2
        spent, before = now, share
    return levels


@functools.lru_cache(maxsize=4)
def _totals(shares: tuple[float, ...], spend: Spending) -> tuple[Any, Any]:
    """Total errors, and the levels of each look for them; both as logarithms."""
    import numpy as np

    totals = np.append(np.geomspace(SMALLEST, 0.1, 45), np.linspace(0.1, 0.999, 26)[1:])
    levels = [nominal_levels(float(total), shares, spend) for total in totals]
    return np.log(totals), np.log(np.maximum(levels, 1e-320))


def repeated_p(
    p_values: Sequence[float], shares: Sequence[float], spend: Spending = obrien_fleming
) -> float:
    """The smallest total error whose boundary some look crosses: a p value after several looks.

    p_values: the one-sided nominal p value of each look so far. shares: the information at all
    looks that were planned. C. Jennison, B. Turnbull, Group Sequential Methods, 2000, chapter 9.
    """
    import numpy as np

    totals, levels = _totals(tuple(shares), spend)
    found = 1.0
    for look, p_value in enumerate(p_values):
        nominal = np.log(max(p_value, 1e-320))
        if nominal > levels[-1, look]:
            continue
        found = min(found, float(np.exp(np.interp(nominal, levels[:, look], totals))))
    return found
