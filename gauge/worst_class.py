"""The class that lost most: a drop that the mean over all classes hides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gauge.tango import tango_bound

FEWEST = 30
"""Samples of a class below which its drop is told without an interval."""

OUTSIDE = 0.05
"""What all classes' intervals together leave outside: the worst of many is picked by chance."""


def worst_class(
    baseline: Any, candidate: Any, labels: Sequence[Any] | None, groups: Sequence[Any] | None
) -> dict[str, Any] | None:
    """The label whose mean score fell most; None without one label a sample.

    baseline, candidate: finite scores [n]; groups: ids [n] or None.
    Returns {"label", "drop", "n", "lost", "gained", "low", "high", "note"}. low and high hold the
    class's true drop with 95 % confidence for all classes at once (Tango 1998, Bonferroni); where
    they are None, "note" says why. Reported, not judged.
    """
    import numpy as np

    old, new = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    if labels is None or len(labels) != len(old) or not len(old):
        return None
    names, member = np.unique(np.asarray(labels), return_inverse=True)
    sizes = np.bincount(member)
    drops = np.bincount(member, weights=old - new) / sizes
    # Of equal drops the one that more samples speak for.
    worst = int(np.lexsort((-sizes, -drops))[0])
    before, after, n = old[member == worst], new[member == worst], int(sizes[worst])
    lost, gained = int((before > after).sum()), int((after > before).sum())
    binary = bool(np.isin(before, (0, 1)).all() and np.isin(after, (0, 1)).all())
    note = _note(n, binary, groups is not None)
    low = high = None
    if note is None:
        level = 1 - OUTSIDE / 2 / len(names)
        low, high = (tango_bound(lost, gained, n, level, upper=upper) for upper in (False, True))
    return {
        "label": names[worst].item(),
        "drop": float(drops[worst]),
        "n": n,
        "lost": lost,
        "gained": gained,
        "low": low,
        "high": high,
        "note": note,
    }


def _note(n: int, binary: bool, grouped: bool) -> str | None:
    """Why there is no interval."""
    if n < FEWEST:
        return f"too few samples for an interval: {n} of {FEWEST}"
    if not binary:
        return "no interval: the scores are not right or wrong"
    return "no interval: its samples share sources" if grouped else None
