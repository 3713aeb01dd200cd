"""Judging: pure functions from what was measured, and a limit, to a verdict.

One function a gate (`judge_evidence` … `judge_memory`), the verdicts of cells that were never
measured (`refused`, `errored`, `no_baseline`), and waivers. Measurements are plain dicts, as jobs
return them. Every comparison is written so that NaN fails: `not value <= limit`, never `value >
limit`.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from gauge.judge_cost import judge_memory, judge_size, judge_speed
from gauge.judge_quality import judge_accuracy, judge_evidence, judge_fidelity, judge_reload
from gauge.judge_regression import judge_regression
from gauge.policy_entry import Waiver
from gauge.verdict import Status, Verdict

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


def apply_waiver(verdict: Verdict, waiver: Waiver | None, today: datetime.date) -> Verdict:
    """A waived failure is WAIVED until the waiver's date, as long as its floor is kept.

    Only FAIL is waived: an ERROR measured nothing, so no floor can be kept. A waiver that is no
    longer needed is named in the verdict's evidence.
    """
    if waiver is None or verdict.status not in (Status.FAIL, Status.PASS):
        return verdict
    named = {"source": waiver.source, "issue": waiver.issue, "owner": waiver.owner}
    named["expires"] = waiver.expires.isoformat()
    if verdict.status is Status.PASS:
        return replace(
            verdict, evidence={**verdict.evidence, "waiver": {**named, "unneeded": True}}
        )
    if today > waiver.expires:
        why = f"its waiver ({waiver.source}) expired on {waiver.expires}"
    elif not waiver.keeps_floor(verdict.value):
        why = f"worse than the floor of its waiver ({waiver.source}): {waiver.floor:g}"
    else:
        return replace(
            verdict,
            status=Status.WAIVED,
            evidence={**verdict.evidence, "waiver": named},
            reason=f"waived until {waiver.expires} ({waiver.source}, {waiver.issue}): "
            f"{waiver.reason}; {verdict.reason}",
        )
    return replace(verdict, reason=f"{verdict.reason}; {why}")
