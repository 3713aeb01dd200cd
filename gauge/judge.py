"""Judging: pure functions from what was measured, and a limit, to a verdict.

One function a gate (`judge_evidence` … `judge_memory`), the verdicts of cells that were never
measured (`refused`, `errored`, `no_baseline`), and waivers. Measurements are plain dicts, as jobs
return them. Every comparison is written so that NaN fails: `not value <= limit`, never `value >
limit`.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from gauge.judge_cost import judge_memory, judge_size, judge_speed
from gauge.judge_quality import judge_accuracy, judge_evidence, judge_fidelity, judge_reload
from gauge.judge_regression import judge_regression
from gauge.policy_entry import Waiver
from gauge.verdict import SCALES, Status, Verdict

__all__ = [
    "apply_waiver",
    "errored",
    "judge_accuracy",
    "judge_evidence",
    "judge_fidelity",
    "judge_memory",
    "judge_regression",
    "judge_reload",
    "judge_size",
    "judge_speed",
    "no_baseline",
    "refused",
]


def refused(gate: str, reason: str, batch: int | None = None) -> Verdict:
    """The technique, or an absent package, says why there is nothing to measure."""
    return Verdict(gate=gate, status=Status.REFUSED, batch=batch, reason=reason)


def errored(gate: str, reason: str, batch: int | None = None) -> Verdict:
    """A crash, a hang, a limit of time or memory: reason names it."""
    return Verdict(gate=gate, status=Status.ERROR, batch=batch, reason=reason)


def no_baseline(gate: str, reason: str, batch: int | None = None) -> Verdict:
    """There is nothing comparable to tell this cell against."""
    return Verdict(gate=gate, status=Status.NO_BASELINE, batch=batch, reason=reason)


def apply_waiver(
    verdict: Verdict, waiver: Waiver | None, today: datetime.date, *, late: bool = False
) -> Verdict:
    """A waived failure is WAIVED until the waiver's date, as long as its floor is kept.

    An ERROR is never waived: it measured nothing, so no floor can be kept. What is INCONCLUSIVE is
    waived where its interval lies on the right side of the floor. A waiver that is no longer needed
    is named in the verdict's evidence. late: an expired waiver waives still, and says so.
    """
    if waiver is None or verdict.status not in (Status.FAIL, Status.INCONCLUSIVE, Status.PASS):
        return verdict
    named: dict[str, Any] = {
        "source": waiver.source,
        "issue": waiver.issue,
        "owner": waiver.owner,
        "expires": waiver.expires.isoformat(),
    }
    if verdict.status is Status.PASS:
        return _noting(verdict, {**named, "unneeded": True})
    if verdict.status is Status.INCONCLUSIVE and not _surely_keeps_floor(verdict, waiver):
        return verdict
    expired = today > waiver.expires
    if expired:
        named["expired"] = True
    if expired and not late:
        why = f"its waiver ({waiver.source}) expired on {waiver.expires}"
    elif verdict.status is Status.FAIL and not waiver.keeps_floor(verdict.value):
        named["floor_kept"] = False
        why = f"worse than the floor of its waiver ({waiver.source}): {waiver.floor:g}"
    else:
        until = f"until {waiver.expires}" if not expired else f"though only until {waiver.expires}"
        why = f"waived {until} ({waiver.source}, {waiver.issue}): {waiver.reason}"
        reason = f"{why}; {verdict.reason}"
        return replace(_noting(verdict, named), status=Status.WAIVED, reason=reason)
    return replace(_noting(verdict, named), reason=f"{verdict.reason}; {why}")


def _noting(verdict: Verdict, named: dict[str, Any]) -> Verdict:
    return replace(verdict, evidence={**verdict.evidence, "waiver": named})


def _surely_keeps_floor(verdict: Verdict, waiver: Waiver) -> bool:
    """Whether all of a verdict's interval keeps the floor, and the value is one to rely on."""
    if waiver.floor is None or verdict.evidence.get("unreliable"):
        return False
    return waiver.keeps_floor(
        verdict.high if SCALES[verdict.gate].better == "lower" else verdict.low
    )
