"""Judging an artifact under load: answers, latency and rates.

Rates are those of server processes, one number each. An interval is their whole range: the least
ratio and the largest that any two processes of the two sides give.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gauge.judge_parts import against, finite, limit_part, verdict
from gauge.judge_quality import judge_accuracy
from gauge.policy_entry import Limit, NoExpectation
from gauge.verdict import Status, Verdict

FP32 = "FP32 itself, which the others are told against"


def judge_answers(gate: str, m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """The score of the answers given under load, held to the accuracy limit.

    m: as judge_accuracy takes it, with "issued" and "answered" queries: a lost one is an ERROR.
    """
    found = dataclasses.replace(judge_accuracy(m, limit), gate=gate)
    counted = {"issued": m["issued"], "answered": m["answered"]}
    found = dataclasses.replace(found, evidence={**found.evidence, **counted})
    if m["issued"] != m["answered"]:
        reason = f"{m['issued']} queries were issued and {m['answered']} answered"
        return dataclasses.replace(found, status=Status.ERROR, reason=reason)
    return found


def judge_latency(m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """The 99th percentile of single answers over the deadline.

    m: "run": a SingleStream run (gauge.serving.results), whose percentile is the one that early
    stopping vouches for; "deadline_s"; "nearest": the policy that comes nearest; "extra".
    """
    run, deadline = m["run"], m["deadline_s"]
    parts: dict[str, Any] = {
        "limit": limit_part(limit),
        "candidate": {key: run[key] for key in ("p50_s", "p90_s", "p99_s", "bound_s", "queries")},
        "evidence": {"deadline_s": deadline, "nearest": m["nearest"], **m["extra"]},
    }
    if not run["valid"]:
        return verdict("realtime_latency", Status.INCONCLUSIVE, **parts, reason=invalid(run))
    if not finite(run["bound_s"]):
        why = f"the 99th percentile is {run['bound_s']}"
        return verdict("realtime_latency", Status.ERROR, **parts, reason=why)
    value = run["bound_s"] / deadline
    over = run["bound_s"] - deadline
    what = f"99 of 100 answers take up to {milliseconds(run['bound_s'])}"
    what += f" of the deadline of {milliseconds(deadline)}"
    if over > 0:
        what += f", {milliseconds(over)} too long; the nearest policy is {policy(m['nearest'])}"
    status, reason = against(limit, value, what)
    return verdict("realtime_latency", status, value=value, **parts, reason=reason)


def judge_rates(gate: str, m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """Queries or samples a second of the candidate over FP32's.

    m: "baseline" and "candidate": LoadGen runs, one a process, empty where no policy keeps the
    deadline; "same": whether both are FP32; "deadline_s"; "nearest"; "what": a word for the rate;
    "extra".
    """
    sides = {arm: [run["rate"] for run in m[arm]] for arm in ("baseline", "candidate")}
    parts: dict[str, Any] = {"limit": limit_part(limit), "evidence": dict(m["extra"])}
    for arm in sides:
        parts[arm] = {"rates": sides[arm], "rate": _middle(sides[arm]), **_policy_of(m[arm])}
    if not sides["candidate"]:
        return _unkept(gate, m, limit, parts)
    bad = next((run for arm in sides for run in m[arm] if not run["valid"]), None)
    if bad is not None:
        return verdict(gate, Status.INCONCLUSIVE, **parts, reason=invalid(bad))
    lost = [rate for rates in sides.values() for rate in rates if not (finite(rate) and rate > 0)]
    if lost:
        return verdict(gate, Status.ERROR, **parts, reason=f"a rate of {lost[0]} {m['what']}")
    new = parts["candidate"]["rate"]
    if m["same"]:
        why = f"{FP32}: {per(new)} {m['what']}"
        return verdict(gate, Status.NO_EXPECTATION, value=1.0, **parts, reason=why)
    if not sides["baseline"]:
        why = f"{per(new)} {m['what']}, and FP32 does not keep the deadline at any rate"
        return verdict(gate, Status.NO_BASELINE, **parts, reason=why)
    old = parts["baseline"]["rate"]
    value = new / old
    low = min(sides["candidate"]) / max(sides["baseline"])
    high = max(sides["candidate"]) / min(sides["baseline"])
    parts |= {"value": value, "low": low, "high": high}
    told = f"{per(new)} {m['what']} are {value:.3g} of FP32's {per(old)}"
    return ranged(gate, limit, value, low, high, told, parts)


def ranged(
    gate: str,
    limit: Limit | NoExpectation,
    value: float,
    low: float,
    high: float,
    told: str,
    parts: Mapping[str, Any],
) -> Verdict:
    """Decided where all processes agree on which side of the limit the ratio lies."""
    if isinstance(limit, NoExpectation):
        return verdict(gate, Status.NO_EXPECTATION, **parts, reason=limit.reason)
    ends = [limit.holds(low), limit.holds(high)]
    if all(ends):
        return verdict(gate, Status.PASS, **parts)
    side = "at least" if limit.min is not None else "at most"
    asked = f"and {side} {limit.bound:g} is asked"
    if not any(ends):
        return verdict(gate, Status.FAIL, **parts, reason=f"{told}, {asked}")
    why = f"undecided: {told} (processes give {low:.3g} to {high:.3g}), {asked}"
    return verdict(gate, Status.INCONCLUSIVE, **parts, reason=why)


def _unkept(
    gate: str, m: Mapping[str, Any], limit: Limit | NoExpectation, parts: Mapping[str, Any]
) -> Verdict:
    """No policy keeps the deadline at any rate: by how much the nearest misses it."""
    nearest, deadline = m["nearest"], m["deadline_s"]
    took = nearest["p99_s"]
    why = (
        f"no batching policy keeps the deadline of {milliseconds(deadline)}: the nearest, "
        f"{policy(nearest)}, takes {milliseconds(took)} for 99 of 100 answers, "
        f"{milliseconds(took - deadline)} too long"
    )
    if isinstance(limit, NoExpectation):
        return verdict(gate, Status.NO_EXPECTATION, **parts, reason=f"{limit.reason}; {why}")
    return verdict(gate, Status.FAIL, **parts, reason=why)


def invalid(run: Mapping[str, Any]) -> str:
    """Why LoadGen does not let a run count, and what to do."""
    reasons = "; ".join(run["reasons"]) or "it says no more"
    advice = f": {run['advice']}" if run["advice"] else ""
    return f"LoadGen calls the {run['scenario']} run INVALID: {reasons}{advice}"


def policy(found: Mapping[str, Any]) -> str:
    """A batching policy in words."""
    wait = found["wait_ms"]
    waits = "no wait" if not wait else f"a wait of up to {wait:g} ms"
    return f"batches of up to {found['largest_batch']} with {waits}"


def per(rate: float) -> str:
    """A rate in four digits, and never as a power of ten."""
    return f"{float(f'{rate:.4g}'):,.0f}" if rate >= 1000 else f"{rate:.4g}"


def milliseconds(seconds: float) -> str:
    """A duration in ms, three digits."""
    return f"{1000 * seconds:.3g} ms"


def _middle(rates: Sequence[float | None]) -> float | None:
    known = sorted(rate for rate in rates if finite(rate))
    if not known:
        return None
    half = len(known) // 2
    return known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2


def _policy_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The policy and latencies of the first run, which all share the policy."""
    keys = ("largest_batch", "wait_ms", "instances", "threads", "p50_s", "p90_s", "p99_s")
    return {key: runs[0][key] for key in keys if runs and key in runs[0]}
