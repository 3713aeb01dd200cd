"""Judging an artifact under load: answers, latency and rates.

Rates are those of server processes, one number each (gauge.rates). A FAIL stands only where fresh
processes of both sides, in turns, fail too.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gauge.judge_parts import against, finite, limit_part, verdict
from gauge.judge_quality import judge_accuracy
from gauge.policy_entry import Limit, NoExpectation
from gauge.rates import Ratio, ratio
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
        parts[arm] = {"rates": sides[arm], "rate": _mean(sides[arm]), **_policy_of(m[arm])}
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
    found = ratio(sides["baseline"], sides["candidate"])
    old = parts["baseline"]["rate"]
    told = f"{per(new)} {m['what']} are {found.value:.3g} of FP32's {per(old)}"
    return ranged(gate, limit, found, told, parts)


def ranged(
    gate: str, limit: Limit | NoExpectation, found: Ratio, told: str, parts: Mapping[str, Any]
) -> Verdict:
    """PASS where the 95 % bound is on the limit's side, FAIL where the 99.5 % bound is beyond."""
    low, high = (one if finite(one) and one > 0 else None for one in (found.low, found.high))
    parts = {**parts, "value": found.value, "low": low, "high": high}
    if isinstance(limit, NoExpectation):
        return verdict(gate, Status.NO_EXPECTATION, **parts, reason=limit.reason)
    least = limit.min is not None
    if limit.holds(found.low if least else found.high):
        return verdict(gate, Status.PASS, **parts)
    asked = f"and {'at least' if least else 'at most'} {limit.bound:g} is asked"
    if not limit.holds(found.most if least else found.least):
        return verdict(gate, Status.FAIL, **parts, reason=f"{told}, {asked}")
    between = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
    why = f"undecided: {told}{between}, {asked}; --effort thorough takes more processes"
    return verdict(gate, Status.INCONCLUSIVE, **parts, reason=why)


def reproduced(first: Verdict, again: Verdict) -> Verdict:
    """A FAIL after fresh processes of both sides: a busy minute of one side is no fault of it."""
    told = {"value": first.value, "reason": first.reason}
    evidence = {**again.evidence, "first": told}
    if again.status is Status.FAIL:
        return dataclasses.replace(again, evidence=evidence)
    why = f"not reproduced: {first.reason}; fresh processes, both sides in turns, "
    why += f"give {again.value:.3g}" if finite(again.value) else f"say: {again.reason}"
    return dataclasses.replace(again, status=Status.INCONCLUSIVE, evidence=evidence, reason=why)


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


def _mean(rates: Sequence[float | None]) -> float | None:
    """The geometric mean of those that are known."""
    known = [rate for rate in rates if finite(rate) and rate > 0]
    return statistics.geometric_mean(known) if known else None


def _policy_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The policy and latencies of the first run, which all share the policy."""
    keys = ("largest_batch", "wait_ms", "instances", "threads", "p50_s", "p90_s", "p99_s")
    return {key: runs[0][key] for key in keys if runs and key in runs[0]}
