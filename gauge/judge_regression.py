"""Judging whether a cell became worse than it was when a run of it was accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gauge import sequential
from gauge.judge_parts import finite, limit_part, verdict
from gauge.policy_entry import Limit, NoExpectation
from gauge.sequential import LOOKS, Outcome
from gauge.verdict import Status, Verdict, worst

Part = tuple[Status, str | None]


def judge_regression(
    m: Mapping[str, Any], limit: Limit | NoExpectation, looks: Sequence[int] = LOOKS
) -> Verdict:
    """The cell's speedups, scores and size against an earlier run's; the worst of them decides.

    m: "run": the accepted run; "absent": why there is nothing to compare with, or None; "new": the
    accepted run has no such cell; "speed": a list of {"batch", "ratio" (the later speedup over the
    earlier), "low", "high", "worse": whether that is beyond chance, "suspected": a sentence or
    None, "same_artifact", "software": what changed, "confirmation": {"first", "confirming":
    log-ratios of the earlier artifact's time over this one's, "problem"} or None}; "accuracy":
    {"worse", "text"} or None; "size": the later ratio over the earlier, or None; "notes".

    Only a slowdown that timing both artifacts in turns confirms (twice, as any speed FAIL) fails.
    One that it does not find is no regression; where the software changed meanwhile and the fall
    is beyond chance, it is that software's, and undecided until a run is accepted.
    """
    speed = list(m.get("speed") or ())
    evidence: dict[str, Any] = {
        key: m[key] for key in ("run", "speed", "accuracy", "size", "window", "notes") if key in m
    }
    slowest = min(map(_ratio, speed), key=lambda one: one["value"], default=None)
    parts: dict[str, Any] = {"limit": limit_part(limit), "evidence": evidence, **(slowest or {})}
    if m.get("absent"):
        return verdict("regression", Status.NO_BASELINE, **parts, reason=m["absent"])
    if m.get("new"):
        reason = f"new: the accepted run {m['run']} has no such cell"
        return verdict("regression", Status.NO_EXPECTATION, **parts, reason=reason)
    if isinstance(limit, NoExpectation):
        return verdict("regression", Status.NO_EXPECTATION, **parts, reason=limit.reason)
    found = [_speed(one, limit, looks) for one in speed]
    if m.get("accuracy"):
        found.append(_accuracy(m["accuracy"]))
    if m.get("size") is not None:
        found.append(_size(m["size"], limit))
    if not found:
        told = "; ".join(m.get("notes") or ()) or "this run asked none of speed, accuracy and size"
        reason = f"nothing pairs with the accepted run {m['run']}: {told}"
        return verdict("regression", Status.NO_BASELINE, **parts, reason=reason)
    status = worst(one for one, _ in found)
    texts = [text for one, text in found if text and one is status]
    if status is Status.PASS:
        evidence["passed"] = texts
        return verdict("regression", status, **parts)
    return verdict("regression", status, **parts, reason="; ".join(texts))


def _ratio(one: Mapping[str, Any]) -> dict[str, Any]:
    """The ratio of the two artifacts in turns where they were timed so, else that of two runs."""
    ratios = (one.get("confirmation") or {}).get("first")
    if ratios and all(map(finite, ratios)):
        found = sequential.estimate(ratios)
        return {"value": found.value, "low": found.low, "high": found.high}
    return {"value": one["ratio"], "low": one["low"], "high": one["high"]}


def _speed(one: Mapping[str, Any], limit: Limit, looks: Sequence[int]) -> Part:
    if not one["suspected"]:
        return Status.PASS, None
    told = f"batch {one['batch']}: {one['suspected']}"
    confirmation = one.get("confirmation")
    if one.get("same_artifact"):
        return _software(one, told, "the artifact is the same, byte for byte")
    if confirmation is None or confirmation.get("problem"):
        why = (confirmation or {}).get("problem") or "the earlier artifact is not kept here"
        return Status.INCONCLUSIVE, f"{told}; not confirmed: {why}"
    again = confirmation.get("confirming")
    lost = [value for value in (*confirmation["first"], *(again or ())) if not finite(value)]
    if lost:
        return Status.INCONCLUSIVE, f"{told}; not confirmed: a time ratio is not finite"
    first = sequential.decide(confirmation["first"], limit.bound, looks)
    fresh = sequential.decide(again, limit.bound, looks) if again else None
    final = sequential.conclude(first, fresh)
    numbers = f"both artifacts timed in turns here: {sequential.decision_text(final)}"
    if final.status is Outcome.PASS:
        return _software(one, told, numbers)
    if final.status is Outcome.FAIL:
        asked = f"and at least {limit.bound:g} is asked; {final.reason}"
        return Status.FAIL, f"{told}; {numbers}, {asked}"
    return Status.INCONCLUSIVE, f"{told}; {numbers}, undecided: {final.reason or 'stopped'}"


def _software(one: Mapping[str, Any], told: str, why: str) -> Part:
    """No fault of the artifact's; what runs it may have changed."""
    changed = "; ".join(one.get("software") or ())
    if changed and one["worse"]:
        reason = f"{told}; {why}, so what runs it is slower ({changed}): accept a run, or undo that"
        return Status.INCONCLUSIVE, reason
    return Status.PASS, f"{told}; not confirmed: {why}"


def _accuracy(found: Mapping[str, Any]) -> Part:
    return (Status.FAIL, found["text"]) if found["worse"] else (Status.PASS, None)


def _size(ratio: float, limit: Limit) -> Part:
    if ratio > 0 and 1 / ratio >= limit.bound:
        return Status.PASS, None
    return Status.FAIL, (
        f"the size is {ratio:.3f} of the accepted run's, and at most {1 / limit.bound:.3g} is asked"
    )
