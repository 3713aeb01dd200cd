"""Right-or-wrong answers of two models on the same samples: Tango's score bound and exact tails.

Counts may be fractions: samples in groups are worth fewer independent ones (see gauge.groups).
Nothing here imports torch; scipy is imported when used.
"""

from __future__ import annotations

import math


def tango_statistic(b: float, c: float, n: float, drop: float) -> float:
    """Tango's score statistic of `(b - c) / n` against a true drop; it falls as `drop` rises.

    b, c: samples that only the baseline, only the candidate has right, of n. The probability of the
    second is estimated by maximum likelihood under the given drop, which has a closed form
    (T. Tango, Statistics in Medicine 17, 1998).
    """
    first = -b - c + (2 * n - b + c) * drop
    second = -c * drop * (1 - drop)
    only_candidate = (math.sqrt(max(0.0, first * first - 8 * n * second)) - first) / (4 * n)
    variance = n * (2 * only_candidate + drop * (1 - drop))
    difference = b - c - n * drop
    if variance <= 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)


def tango_bound(
    b: float, c: float, n: float, level: float, upper: bool, degrees: int | None = None
) -> float:
    """One-sided score bound of the drop at a confidence level such as 0.95.

    degrees: of freedom of the t quantile that takes the normal's place; None: the normal.
    """
    if not 0 <= b + c <= n * (1 + 1e-12) or min(b, c) < 0 or n == 0:
        raise ValueError(f"b={b} and c={c} of n={n} are no counts of pairs")
    z = quantile(level, degrees)
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


def quantile(level: float, degrees: int | None = None) -> float:
    """The quantile of t with these degrees of freedom, of the normal for None."""
    from scipy import special

    return float(special.ndtri(level) if degrees is None else special.stdtrit(degrees, level))


def at_most(k: float, n: float, p: float) -> float:
    """P(Bin(n, p) <= k), by the incomplete beta function, which takes fractions as well."""
    from scipy import special

    if k >= n or p <= 0:
        return 1.0 if k >= 0 else 0.0
    return 0.0 if k < 0 or p >= 1 else float(special.betainc(n - k, k + 1, 1 - p))


def at_least(k: float, n: float, p: float) -> float:
    """P(Bin(n, p) >= k), in the same way."""
    from scipy import special

    if k <= 0 or p >= 1:
        return 1.0 if k <= n else 0.0
    return 0.0 if k > n or p <= 0 else float(special.betainc(k, n - k + 1, p))


def mcnemar(b: int, c: int) -> float:
    """One-sided p of losing as many samples by chance, were losses and gains alike.

    McNemar's exact test (Psychometrika, 1947): P(Bin(b + c, 1/2) >= b). It sees drops far below a
    limit that the samples can decide, so it alarms and decides nothing. 1 where nothing differs.
    """
    return at_least(b, b + c, 0.5)
