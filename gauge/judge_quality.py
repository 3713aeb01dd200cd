"""Judging what a candidate answers: evidence, reload, accuracy, fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gauge import paired, tango
from gauge.judge_parts import against, finite, limit_part, nonfinite_reason, verdict
from gauge.policy_entry import Limit, NoExpectation
from gauge.verdict import Status, Verdict
from gauge.worst_class import worst_class

RELOAD_TOLERANCE = 1e-5
"""Largest difference after reload, as a share of the largest output, that needs no explanation."""

LEAST_SQNR_DB = 3.0
"""Noise of half the signal's power. Labels may bear it (all scores doubled); what reads the scores
does not. The least seen of a technique that works is 8 dB (int8 of efficientnet_lite0)."""


def judge_evidence(
    findings: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any] | None = None
) -> Verdict:
    """Every claim must be found in the reloaded artifact.

    findings: claim to {"found": bool, "text": what was counted, "numbers": {…}}. extra: recorded
    beside them (stages, kernels).
    """
    evidence = {"claims": findings, **(extra or {})}
    if not findings:
        reason = "no claim: the technique states nothing that can be checked"
        return verdict("evidence", Status.FAIL, value=0.0, evidence=evidence, reason=reason)
    absent = [name for name, finding in findings.items() if not bool(finding.get("found"))]
    reason = "; ".join(
        f"{name} not found: {findings[name].get('text') or 'nothing was counted'}"
        for name in absent
    )
    return verdict(
        "evidence",
        Status.FAIL if absent else Status.PASS,
        value=1 - len(absent) / len(findings),
        limit={"min": 1.0, "max": None, "source": "default", "reason": "every claim counts"},
        evidence=evidence,
        reason=reason or None,
    )


def judge_reload(m: Mapping[str, Any]) -> Verdict:
    """The artifact, opened in a fresh process, must answer as it did before it was saved.

    m: "batches": batch size to largest relative difference (None: could not be compared),
    "errors": batch size to message, "batch": the only size the artifact declares, or None,
    "tolerance" and "tolerance_reason": what the technique declares; "loader" is recorded. Optional:
    "habits": sentences for what makes its answers meaningless (see gauge.baseline_checks);
    "foreign": bytes of the files it read that are none of its own, by path; "rows": "apart": batch
    size to how far its rows' answers are from those at the size "of" (None: cannot be compared),
    and how far is "allowed".
    """
    batches, errors = dict(m.get("batches") or {}), dict(m.get("errors") or {})
    batch, tolerance = m.get("batch"), m.get("tolerance", RELOAD_TOLERANCE)
    differences = [value for value in batches.values() if finite(value)]
    reason = (
        _tolerance_fault(tolerance, m.get("tolerance_reason"))
        or _size_fault(batches, errors, batch)
        or _habit_fault(m)
        or _difference_fault(batches, errors, tolerance)
        or _rows_fault(m.get("rows") or {})
    )
    declared = tolerance != RELOAD_TOLERANCE
    return verdict(
        "reload",
        Status.FAIL if reason else Status.PASS,
        value=max(differences, default=None),
        limit={
            "min": None,
            "max": tolerance,
            "source": "technique" if declared else "default",
            "reason": m.get("tolerance_reason"),
        },
        evidence={
            "batches": batches,
            "batch": batch,
            **({"errors": errors} if errors else {}),
            **({"loader": m["loader"]} if "loader" in m else {}),
            **({"rows": m["rows"]} if m.get("rows") else {}),
        },
        reason=reason,
    )


def _tolerance_fault(tolerance: Any, why: str | None) -> str | None:
    if not finite(tolerance) or not tolerance >= 0:
        return f"the technique declares a reload tolerance of {tolerance}, which is no limit"
    if tolerance > RELOAD_TOLERANCE and not (why and why.strip()):
        return f"the technique declares a reload tolerance of {tolerance:g} and no reason for it"
    return None


def _size_fault(
    batches: Mapping[str, Any], errors: Mapping[str, Any], batch: int | None
) -> str | None:
    """A size that fails must be one that a declared batch size rules out."""
    needed = [size for size in errors if batch is None or str(size) == str(batch)]
    if needed:
        size = needed[0]
        if batch is None and batches:
            return (
                f"fails at batch {size}, and the artifact declares no fixed batch: {errors[size]}"
            )
        return f"fails at batch {size}: {errors[size]}"
    compared = {str(size) for size in batches}
    if batch is not None and str(batch) not in compared:
        return f"declares the fixed batch {batch}, and nothing was compared there"
    return None if compared else "no output was compared"


def _difference_fault(
    batches: Mapping[str, Any], errors: Mapping[str, Any], tolerance: float
) -> str | None:
    for size, difference in batches.items():
        if size in errors:
            continue
        if difference is None:
            return f"the outputs at batch {size} could not be compared"
        if not finite(difference):
            return f"the difference at batch {size} is not finite"
        if not difference <= tolerance:
            return (
                f"the reloaded artifact answers differently at batch {size}: by {difference:.2g} "
                f"of the largest output, and {tolerance:g} is allowed"
            )
    return None


def _habit_fault(m: Mapping[str, Any]) -> str | None:
    habits, foreign = m.get("habits") or (), m.get("foreign") or {}
    if habits:
        return f"the reloaded artifact: {'; '.join(habits)}"
    if foreign:
        name, size = max(foreign.items(), key=lambda one: one[1])
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        return (
            f"the artifact needs what it does not hold: it reads {name} ({size} bytes){more}, "
            "which does not ship with it"
        )
    return None


def _rows_fault(rows: Mapping[str, Any]) -> str | None:
    for size, apart in (rows.get("apart") or {}).items():
        if not finite(apart) or not apart <= rows["allowed"]:
            by = f"by {apart:.2g} of the largest output" if finite(apart) else "beyond comparing"
            return (
                f"the same rows are answered differently at batch {size} than at batch "
                f"{rows['of']}: {by}, and {rows['allowed']:.2g} is allowed"
            )
    return None


def judge_accuracy(
    m: Mapping[str, Any], limit: Limit | NoExpectation, suspect_gain: bool = False, seed: int = 0
) -> Verdict:
    """The mean score may drop by no more than the limit (see gauge.paired).

    m: "baseline" and "candidate": scores [n] of the same samples; optional "groups" (ids [n]),
    "labels" [n] (for the worst class), "nonfinite" {"count", "of", "layer"} of the candidate's
    outputs, "extra": recorded as evidence (its "batch_invariance" held to "tolerance", that of the
    reload gate, and told). suspect_gain: a gain as sure as a failing drop fails
    too; for techniques that change numerics only, where it means a wrong baseline.
    """
    import numpy as np

    old = np.asarray(m.get("baseline", ()), dtype=float)
    new = np.asarray(m.get("candidate", ()), dtype=float)
    groups, extra = m.get("groups"), dict(m.get("extra") or {})
    parts: dict[str, Any] = {
        "limit": limit_part(limit),
        "baseline": _level(old),
        "candidate": _level(new),
        "evidence": extra,
    }
    fault = _score_fault(old, new, groups) or _nonfinite_fault(m, new)
    if fault:
        return verdict("accuracy", fault[0], **parts, reason=fault[1])
    margin = limit.bound if isinstance(limit, Limit) else None
    result = paired.compare(old, new, margin, groups, seed)
    status, reason = result.status, result.reason
    if isinstance(limit, NoExpectation):
        reason = limit.reason
    elif suspect_gain:
        gain = paired.compare(new, old, margin, groups, seed)
        if gain.status is Status.FAIL:
            status = Status.FAIL
            reason = (
                f"suspicious gain of {100 * gain.drop:.2f} points ({gain.b} samples gained, "
                f"{gain.c} lost): the baseline may be wrong"
            )
    worst = worst_class(old, new, m.get("labels"), groups)
    parts["evidence"] = {
        "b": result.b,
        "c": result.c,
        "groups": result.groups,
        "design_effect": result.design,
        "smallest_drop": result.smallest_drop,
        "method": result.method,
        **_chance(result),
        **({"worst_class": worst} if worst else {}),
        **extra,
        **_alone(extra.get("batch_invariance"), m.get("tolerance", RELOAD_TOLERANCE)),
    }
    return verdict(
        "accuracy",
        status,
        value=result.drop,
        low=result.low,
        high=result.high,
        reason=reason,
        **parts,
    )


def _alone(found: Mapping[str, Any] | None, tolerance: float) -> dict[str, Any]:
    """Whether samples alone are answered as in a batch: within the tolerance, no score changed."""
    if not found:
        return {}
    if "difference" not in found:
        note = found.get("note") or found.get("error") or "nothing was compared"
        return {"batch_invariance": {"agrees": None, "note": note}}
    near = finite(found["difference"]) and found["difference"] <= tolerance
    told = {**found, "tolerance": tolerance, "agrees": bool(near and not found.get("changed"))}
    return {"batch_invariance": told}


def _chance(result: paired.Paired) -> dict[str, float]:
    """How likely chance alone loses this many of independent right-or-wrong samples."""
    if result.method != paired.TANGO:
        return {}
    return {"mcnemar_p": tango.mcnemar(result.b, result.c)}


def _level(scores: Any) -> dict[str, Any]:
    return {"score": float(scores.mean()) if scores.size else None, "n": int(scores.size)}


def _score_fault(old: Any, new: Any, groups: Sequence[Any] | None) -> tuple[Status, str] | None:
    import numpy as np

    if not old.size or not new.size:
        return Status.FAIL, "no samples: nothing was scored"
    if old.ndim != 1 or old.shape != new.shape:
        what = f"scores of shapes {old.shape} and {new.shape} do not pair"
        return Status.ERROR, what
    if groups is not None and len(groups) != len(old):
        return Status.ERROR, f"{len(groups)} group ids for {len(old)} samples"
    if not np.isfinite(old).all():
        lost = int((~np.isfinite(old)).sum())
        return Status.ERROR, f"non-finite scores of the baseline, {lost} of {old.size}"
    return None


def _nonfinite_fault(m: Mapping[str, Any], new: Any) -> tuple[Status, str] | None:
    import numpy as np

    reason = nonfinite_reason(m.get("nonfinite"))
    if reason is None and not np.isfinite(new).all():
        reason = f"non-finite scores {int((~np.isfinite(new)).sum())} of {new.size}"
    return (Status.FAIL, reason) if reason else None


def judge_fidelity(m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """How often (labels), or how closely (lowest cosine), the candidate answers as FP32 does.

    m: "agreement" from 0 to 1, or "cosine" from -1 to 1 where outputs are no labels; optional
    "nonfinite", "reason" (why neither is there), "extra" (flip rate, SQNR: recorded), "numerics":
    whether the technique changes numerics only; then an SQNR under 3 dB fails, whatever the labels.
    """
    measure = "agreement" if m.get("agreement") is not None else "cosine"
    value = m.get(measure)
    parts: dict[str, Any] = {
        "unit": "fraction" if measure == "agreement" else "cosine",
        "value": value,
        "limit": limit_part(limit),
        "evidence": dict(m.get("extra") or {}),
    }
    reason = nonfinite_reason(m.get("nonfinite"))
    if reason:
        return verdict("fidelity", Status.FAIL, **parts, reason=reason)
    if value is None:
        why = m.get("reason") or "neither agreement nor cosine was measured"
        return verdict("fidelity", Status.ERROR, **parts, reason=why)
    if not finite(value):
        return verdict("fidelity", Status.FAIL, **parts, reason=f"the {measure} is not finite")
    name = "agreement with FP32" if measure == "agreement" else "lowest cosine to FP32"
    noise = parts["evidence"].get("sqnr_db")
    if m.get("numerics") and isinstance(limit, Limit) and finite(noise) and noise < LEAST_SQNR_DB:
        reason = (
            f"the outputs differ from FP32's by {10 ** (-noise / 20):.2g} of their size (signal to "
            f"noise {noise:.1f} dB), and only numerics were to change"
        )
        return verdict("fidelity", Status.FAIL, **parts, reason=reason)
    status, reason = against(limit, value, f"{name} is {value:.4f}")
    return verdict("fidelity", status, **parts, reason=reason)
