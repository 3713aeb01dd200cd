"""Judging what a deployment on a small device asks: numbers in their own units, not ratios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gauge.judge_parts import finite, limit_part, verdict
from gauge.policy_entry import Limit, NoExpectation
from gauge.verdict import SCALES, Status, Verdict

_UNITS = {
    "bytes": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0)),
    "seconds": (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)),
    "joules": (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)),
    "count": (("G", 1e9), ("M", 1e6), ("thousand", 1e3), ("", 1.0)),
    "share": (("% of what the machine can do", 1e-2),),
}


def spoken(gate: str, value: float) -> str:
    """A gate's number with the unit that suits it: "46.8 MB", "812 ms"."""
    units = _UNITS[SCALES[gate].unit]
    unit, size = next((one for one in units if abs(value) >= one[1]), units[-1])
    return f"{value / size:.3g} {unit}".rstrip()


def _short(gate: str, value: float) -> str:
    """The same without saying again what a percentage is of."""
    return spoken(gate, value).partition(" of ")[0]


def judge_edge(
    gate: str,
    measured: Mapping[str, Any],
    limit: Limit | NoExpectation,
) -> Verdict:
    """A number against its limit, with its interval where it has one.

    measured: "value", "low" and "high" in the gate's unit, or None with a "reason" where it cannot
    be had; "baseline": the same number of FP32, or None; "evidence". PASS and FAIL need the whole
    interval on one side; else INCONCLUSIVE. Without a limit it is told: NO_EXPECTATION.
    """
    value, low, high = (measured.get(key) for key in ("value", "low", "high"))
    parts: dict[str, Any] = {
        "limit": limit_part(limit),
        "baseline": {"value": measured.get("baseline")},
        "candidate": {"value": value},
        "evidence": dict(measured.get("evidence") or {}),
    }
    if measured.get("wrong"):
        return verdict(gate, Status.FAIL, value=value, **parts, reason=measured["wrong"])
    if value is None:
        why = measured.get("reason") or "no reason given"
        return verdict(gate, Status.NO_EXPECTATION, **parts, reason=f"not available: {why}")
    if not (finite(value) and value >= 0):
        return verdict(gate, Status.FAIL, **parts, reason=f"what was measured is {value}")
    parts |= {"low": low, "high": high}
    told = spoken(gate, value) + _interval(gate, low, high) + _beside(gate, value, measured)
    if isinstance(limit, NoExpectation):
        why = f"{told}; {limit.reason}"
        return verdict(gate, Status.NO_EXPECTATION, value=value, **parts, reason=why)
    kept = [limit.holds(one) for one in (value, low, high) if one is not None]
    if all(kept):
        return verdict(gate, Status.PASS, value=value, **parts)
    side = "at least" if limit.min is not None else "at most"
    asked = f"{side} {_short(gate, limit.bound)} is asked"
    if any(kept):
        why = f"undecided: {told}, and {asked}; --effort thorough measures more often"
        return verdict(gate, Status.INCONCLUSIVE, value=value, **parts, reason=why)
    return verdict(gate, Status.FAIL, value=value, **parts, reason=f"{told}, and {asked}")


def _interval(gate: str, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f" ({_short(gate, low)} to {_short(gate, high)})"


def _beside(gate: str, value: float, measured: Mapping[str, Any]) -> str:
    """How it compares with FP32, where that has a number."""
    base = measured.get("baseline")
    if not finite(base) or base <= 0:
        return ""
    return f", FP32 {_short(gate, base)}"
