"""What the judging functions share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from gauge.policy_entry import Limit, NoExpectation
from gauge.verdict import SCALES, Status, Verdict


def verdict(gate: str, status: Status, **parts: Any) -> Verdict:
    """A verdict on the gate's own scale."""
    return Verdict(gate=gate, status=status, **{**SCALES[gate]._asdict(), **parts})


def finite(value: Any) -> TypeGuard[float]:
    """Whether it is a number, and finite; a boolean is none."""
    try:
        return not isinstance(value, (bool, str)) and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def limit_part(limit: Limit | NoExpectation) -> dict[str, Any] | None:
    """The limit as a record holds it; None where there is none."""
    return limit.as_dict() if isinstance(limit, Limit) else None


def against(limit: Limit | NoExpectation, value: float, what: str) -> tuple[Status, str | None]:
    """Status and reason of a number that needs no interval. NaN keeps no limit."""
    if isinstance(limit, NoExpectation):
        return Status.NO_EXPECTATION, limit.reason
    if limit.holds(value):
        return Status.PASS, None
    side = "at least" if limit.min is not None else "at most"
    return Status.FAIL, f"{what}, and {side} {limit.bound:g} is allowed"


def nonfinite_reason(found: Mapping[str, Any] | None) -> str | None:
    """Why outputs that hold NaN or infinity fail, or None when all are finite."""
    if not found or not found.get("count"):
        return None
    layer = found.get("layer")
    where = f", first in layer {layer}" if layer else ""
    return f"non-finite outputs {found.get('count')} of {found.get('of', 'unknown')}{where}"
