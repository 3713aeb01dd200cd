"""Judging what a candidate costs: size, speed, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gauge import gpu, percentiles, sequential, steady
from gauge.judge_parts import against, finite, limit_part, verdict
from gauge.policy_entry import Limit, NoExpectation
from gauge.sequential import LOOKS, Outcome
from gauge.verdict import Status, Verdict

BLOCK = 4096
"""Bytes that a file system stores at once: less is no difference in size."""

CROWDED = 0.05
"""Share of its time for which a process waits for a CPU that an undecided verdict tells of."""


def judge_size(m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """Bytes of all files of the artifact over those of the baseline's.

    m: "baseline_bytes", "candidate_bytes"; optional "files" (name to bytes) and "sparsity", which
    is reported beside the size and never turned into it.
    """
    old, new = m.get("baseline_bytes"), m.get("candidate_bytes")
    named = {key: m[key] for key in ("files", "sparsity") if m.get(key) is not None}
    parts: dict[str, Any] = {
        "limit": limit_part(limit),
        "baseline": {"bytes": old},
        "candidate": {"bytes": new, **named},
    }
    if not (finite(old) and old > 0 and finite(new) and new > 0):
        why = f"the sizes measured are {old} bytes (baseline) and {new} bytes (candidate)"
        return verdict("size", Status.ERROR, **parts, reason=why)
    value = new / old
    if isinstance(limit, Limit) and 0 < new - limit.bound * old <= BLOCK:
        # The descriptions beside a model of a kilobyte would fail it, and no disk would notice.
        parts["evidence"] = {"note": f"the excess is within one block of a disk, {BLOCK} bytes"}
        return verdict("size", Status.PASS, value=value, **parts)
    status, reason = against(limit, value, f"{_bytes(new)} are {value:.3f} of {_bytes(old)}")
    return verdict("size", status, value=value, **parts, reason=reason)


def judge_memory(
    m: Mapping[str, Any],
    limit: Limit | NoExpectation,
    batch: int | None = None,
    gated: bool = True,
) -> Verdict:
    """Peak memory of the candidate over the baseline's, each above the level before loading.

    m: "baseline_bytes" and "candidate_bytes", or None with a "reason"; "unavailable" true where
    this system cannot measure it at all, which is no expectation and not an error. Optional
    "resolution_bytes": an excess no larger than that is INCONCLUSIVE. gated: False where the
    batch size is only reported.
    """
    old, new = m.get("baseline_bytes"), m.get("candidate_bytes")
    parts: dict[str, Any] = {
        "batch": batch,
        "limit": limit_part(limit) if gated else None,
        "baseline": {"bytes": old},
        "candidate": {"bytes": new},
        "evidence": dict(m.get("extra") or {}),
    }
    if m.get("unavailable"):
        why = f"not available: {m.get('reason') or 'peak memory cannot be measured here'}"
        return verdict("memory", Status.NO_EXPECTATION, **parts, reason=why)
    if not finite(old) or not finite(new):
        why = m.get("reason") or f"peak memory is {old} and {new} bytes"
        return verdict("memory", Status.ERROR, **parts, reason=why)
    value = new / old if old > 0 else None
    if not gated:
        return verdict(
            "memory", Status.NO_EXPECTATION, value=value, **parts, reason=_reported(batch)
        )
    status, reason = _memory_status(old, new, value, limit, m.get("resolution_bytes") or 0)
    return verdict("memory", status, value=value, **parts, reason=reason)


def _memory_status(
    old: float, new: float, value: float | None, limit: Limit | NoExpectation, resolution: float
) -> tuple[Status, str | None]:
    if isinstance(limit, Limit):
        excess = new - limit.bound * old
        if 0 < excess <= resolution:
            return Status.INCONCLUSIVE, (
                f"{_bytes(new)} against {_bytes(old)}: the excess of {_bytes(excess)} is within "
                f"the {_bytes(resolution)} that the measurement resolves"
            )
        if value is None and excess <= 0:
            return (
                Status.PASS,
                f"{_bytes(new)} against {_bytes(old)}: no ratio, and nothing more used",
            )
    if value is None:
        return Status.ERROR, f"the baseline's peak memory is {_bytes(old)}, which is no measure"
    return against(limit, value, f"{_bytes(new)} are {value:.3f} of {_bytes(old)}")


def _bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def _reported(batch: int | None) -> str:
    return f"batch {batch} is reported, not gated"


def judge_speed(
    m: Mapping[str, Any],
    limit: Limit | NoExpectation,
    looks: Sequence[int] = LOOKS,
    batch: int | None = None,
    gated: bool = True,
) -> Verdict:
    """Baseline time over candidate time, decided over processes (see gauge.sequential).

    m: "first": log-ratios, one a process; "confirming": those of a fresh run after a FAIL, or
    None; "medians": {"baseline": s, "candidate": s}; "samples": the same arms to lists of s;
    "invalid": why the measurement does not count, or None; "blocks": the log-ratios within each
    process, for the steady-state check; "latency": arms to single calls in s; "outliers": arms to
    counts; "energy": see suites.verdicts; "devices": what each process's target.watch told;
    "threads", "extra".
    gated: False where the batch size is only reported.

    A gated cell that is not steady is INCONCLUSIVE whichever way the test and the trend point: a
    ratio that moves is no property of the cell, and a baseline that slows looks like a candidate
    that gains. So is one whose GPU was shared.
    """
    first, confirming = list(m.get("first") or ()), m.get("confirming")
    trend = steady.judge(m.get("blocks") or ())
    parts = _speed_parts(m, first, confirming, trend)
    parts |= {"batch": batch, "limit": limit_part(limit) if gated else None}
    if m.get("invalid"):
        return verdict("speed", Status.ERROR, **parts, reason=f"invalid: {m['invalid']}")
    if not first:
        return verdict("speed", Status.ERROR, **parts, reason="no process gave a time")
    lost = [value for value in (*first, *(confirming or ())) if not finite(value)]
    if lost:
        why = f"the time ratio is not finite in {len(lost)} processes"
        return verdict("speed", Status.FAIL, **parts, reason=why)
    if not gated or isinstance(limit, NoExpectation):
        shown = sequential.estimate(first)
        why = limit.reason if isinstance(limit, NoExpectation) else _reported(batch)
        return _speed_verdict(Status.NO_EXPECTATION, shown, parts, why)
    decision = sequential.decide(first, limit.bound, looks)
    again = sequential.decide(confirming, limit.bound, looks) if confirming else None
    final = sequential.conclude(decision, again)
    shared = next(filter(None, map(gpu.busy, m.get("devices") or ())), None)
    unreliable = shared or trend.reason()
    if unreliable:
        said = f"{unreliable}; measured: {sequential.decision_text(final)}"
        parts["evidence"]["unreliable"] = unreliable
        return _speed_verdict(Status.INCONCLUSIVE, final, parts, said)
    if final.status is Outcome.CONTINUE:
        why = f"stopped after {len(first)} of {looks[-1]} processes, undecided"
        return _speed_verdict(Status.INCONCLUSIVE, final, parts, why)
    reason = _slow(final, limit, m) if final.status is Outcome.FAIL else final.reason
    if final.status is Outcome.INCONCLUSIVE:
        reason = "; ".join(filter(None, (reason, _crowded(m))))
    return _speed_verdict(Status(final.status.value), final, parts, reason)


def _speed_parts(
    m: Mapping[str, Any],
    first: Sequence[float],
    confirming: Sequence[float] | None,
    trend: steady.Trend,
) -> dict[str, Any]:
    medians, samples = m.get("medians") or {}, m.get("samples") or {}
    latency, energy = m.get("latency"), m.get("energy")
    arms = {}
    for arm in ("baseline", "candidate"):
        arms[arm] = {"median_s": medians.get(arm)}
        if arm in samples:
            arms[arm]["samples"] = samples[arm]
        if latency:
            arms[arm]["latency"] = percentiles.table(latency[arm])
        if energy:
            arms[arm]["joules"] = energy[arm]
    evidence: dict[str, Any] = {"processes": list(first)}
    if confirming:
        evidence["confirming"] = list(confirming)
    if m.get("blocks"):
        evidence |= {"steady": trend.steady, "trend": trend.drift, "trend_z": trend.z}
    if energy:
        evidence["energy"] = {key: energy[key] for key in ("source", "reason")}
    for key in ("outliers", "threads"):
        if key in m:
            evidence[key] = m[key]
    return {**arms, "evidence": {**evidence, **(m.get("extra") or {})}}


def _speed_verdict(
    status: Status, decision: sequential.Decision, parts: Mapping[str, Any], reason: str | None
) -> Verdict:
    looks = [look for look in LOOKS if look <= decision.look]
    evidence = {**parts["evidence"], "looks": looks, "sigma": decision.sigma}
    return verdict(
        "speed",
        status,
        value=decision.value,
        low=decision.low,
        high=decision.high,
        reason=reason,
        **{**parts, "evidence": evidence},
    )


def _slow(decision: sequential.Decision, limit: Limit, m: Mapping[str, Any]) -> str:
    """What a slow cell's reader asks first: how slow, both medians, how many threads."""
    medians = m.get("medians") or {}
    old, new = medians.get("baseline"), medians.get("candidate")
    parts = [f"{sequential.decision_text(decision)}, and at least {limit.bound:g} is asked"]
    if finite(old) and finite(new):
        parts.append(f"baseline {_seconds(old)}, candidate {_seconds(new)}")
    if m.get("threads"):
        parts.append(f"{m['threads']} threads" if m["threads"] != 1 else "1 thread")
    if decision.reason:
        parts.append(decision.reason)
    return "; ".join(parts)


def _crowded(m: Mapping[str, Any]) -> str | None:
    """That other programs had the CPU meanwhile, which alone makes ratios differ by 7 %; or None.

    m: as of `judge_speed`; "extra" holds under "machine" what each process saw.
    """
    seen = (m.get("extra") or {}).get("machine") or ()
    waits = [one["queued"] for one in seen if one.get("queued") is not None]
    if not waits or max(waits) < CROWDED:
        return None
    many = sum(wait >= CROWDED for wait in waits)
    return (
        f"other programs had its CPU: {many} of {len(waits)} processes waited for it for more than "
        f"{100 * CROWDED:g} % of the time, one for {100 * max(waits):.0f} %. Measure on a machine "
        "that does nothing else"
    )


def _seconds(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
