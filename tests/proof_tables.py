"""Numbers as the proof tells them: shares with exact intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def share(count: int, of: int) -> dict[str, Any]:
    """A count and its exact two-sided 95 % interval (Clopper and Pearson, Biometrika, 1934)."""
    if of == 0:
        return {"count": 0, "of": 0, "low": None, "high": None, "reason": "nothing was measured"}
    from scipy.stats import binomtest

    found = binomtest(count, of).proportion_ci(0.95, method="exact")
    return {"count": count, "of": of, "low": float(found.low), "high": float(found.high)}


def cell(found: dict[str, Any], decimals: int = 2) -> str:
    """A share as a table tells it: count, rate and interval."""
    if not found["of"]:
        return "not measured"
    rate, low, high = (
        percent(value, decimals)
        for value in (found["count"] / found["of"], found["low"], found["high"])
    )
    return f"{found['count']} of {found['of']} = {rate} [{low}, {high}]"


def percent(value: float | None, decimals: int = 2) -> str:
    """A fraction in percent; what is not there is told."""
    return "unknown" if value is None else f"{100 * value:.{decimals}f} %"


def seconds_text(value: float | None) -> str:
    """Seconds, minutes from ten on."""
    if value is None:
        return "unknown"
    return f"{value:.1f} s" if value < 600 else f"{value / 60:.0f} min"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
