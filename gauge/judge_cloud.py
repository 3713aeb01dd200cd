"""Judging what a deployment costs: money for a million inferences, a simulated fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gauge.judge_parts import against, finite, limit_part, verdict
from gauge.judge_serving import FP32, judge_rates, ranged
from gauge.policy_entry import Limit, NoExpectation
from gauge.rates import ratio
from gauge.verdict import Status, Verdict


def judge_cost(m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """Money for a million inferences over FP32's, at the rates of `judge_rates`.

    m: as for judge_rates, and "price": {"hour", "currency", "example", "source"}, hour None or 0
    where there is none.
    """
    rates = judge_rates("cloud_cost", m, limit)
    price = m["price"]
    evidence = {**rates.evidence, "price": price}
    if not price["hour"]:
        why = (
            f"not available: {price['source']} has no price; write one an hour of a machine like "
            "this one: [cost] hour = …, currency = …"
        )
        return verdict(
            "cloud_cost", Status.NO_EXPECTATION, evidence=evidence, reason=why,
            baseline=rates.baseline, candidate=rates.candidate,
        )  # fmt: skip
    arms = {}
    for arm in ("baseline", "candidate"):
        found = dict(getattr(rates, arm))
        rate = found.get("rate")
        cost = million(price["hour"], rate) if finite(rate) and rate > 0 else None
        arms[arm] = {**found, "cost_per_million": cost}
    example = " (an example price)" if price["example"] else ""
    parts: dict[str, Any] = {**arms, "limit": rates.limit, "evidence": evidence}
    old, new = (arms[arm]["cost_per_million"] for arm in ("baseline", "candidate"))
    if rates.value is None or new is None or old is None:
        return verdict("cloud_cost", rates.status, **parts, reason=rates.reason)
    told = f"{new:.4g} {price['currency']} a million inferences{example}"
    if m["same"]:
        why = f"{FP32}: {told}"
        return verdict("cloud_cost", Status.NO_EXPECTATION, value=1.0, **parts, reason=why)
    over = ratio(rates.baseline["rates"], rates.candidate["rates"]).inverse
    told = f"{told} are {over.value:.3g} of FP32's {old:.4g}"
    return ranged("cloud_cost", limit, over, told, parts)


def million(hour: float, rate: float) -> float:
    """Money for a million inferences: a price an hour, and inferences a second."""
    return hour / 3600 / rate * 1e6


def judge_fleet(m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """Simulated replica hours over FP32's on the same trace (gauge.serving.fleet).

    m: "baseline" and "candidate": simulations, or None where nothing keeps the objective, with
    "doubt": why the rate they start from does not count, or None; "same"; "rates": queries a second
    of FP32's processes and of the candidate's; "price"; "extra". A FAIL needs more than what the
    rates are uncertain by (gauge.rates, 99.5 %).
    """
    old, new = m["baseline"], m["candidate"]
    hour = m["price"]["hour"]
    parts: dict[str, Any] = {
        "limit": limit_part(limit),
        "evidence": {"simulated": True, "price": m["price"], **m["extra"]},
    }
    for arm, found in (("baseline", old), ("candidate", new)):
        if found is not None:
            cost = found["replica_hours"] * hour if hour else None
            parts[arm] = {**found, "cost": cost}
    problem = _unsimulated(m, "cloud_fleet", parts)
    if problem:
        return problem
    told = f"simulated: {new['replica_hours']:.3g} replica hours"
    if m["same"]:
        why = f"{FP32}; {told}"
        return verdict("cloud_fleet", Status.NO_EXPECTATION, value=1.0, **parts, reason=why)
    # Four digits: fleets of as many replicas differ by when the last query is answered.
    value = round(new["replica_hours"] / old["replica_hours"], 4)
    told += f" are {value:.3g} of FP32's {old['replica_hours']:.3g}"
    status, reason = against(limit, value, told)
    over = ratio(*m["rates"]).inverse
    perhaps = value * over.least / over.value
    if status is Status.FAIL and isinstance(limit, Limit) and limit.holds(perhaps):
        status = Status.INCONCLUSIVE
        reason = f"undecided: {reason}; by the rates that it starts from it may be {perhaps:.3g}"
    return verdict("cloud_fleet", status, value=value, **parts, reason=reason)


def judge_misses(m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """The simulated share of queries that miss the objective; m as for judge_fleet."""
    new = m["candidate"]
    parts: dict[str, Any] = {
        "limit": limit_part(limit),
        "candidate": {} if new is None else {key: new[key] for key in ("queries", "late", "p99_s")},
        "evidence": {"simulated": True, **m["extra"]},
    }
    if new is None:
        why = "no rate keeps the objective, so there is nothing to simulate"
        return verdict("cloud_misses", Status.FAIL, **parts, reason=why)
    if new["doubt"]:
        why = f"simulated from a rate that does not count: {new['doubt']}"
        return verdict("cloud_misses", Status.INCONCLUSIVE, **parts, reason=why)
    told = f"simulated: {new['late']} of {new['queries']} queries miss the objective"
    status, reason = against(limit, new["misses"], f"{told}, {100 * new['misses']:.2f} %")
    return verdict("cloud_misses", status, value=new["misses"], **parts, reason=reason)


def _unsimulated(m: Mapping[str, Any], gate: str, parts: Mapping[str, Any]) -> Verdict | None:
    """The verdict where a side has no rate within the objective; None where both have."""
    if m["candidate"] is None:
        why = "no rate keeps the objective, so there is nothing to simulate"
        return verdict(gate, Status.FAIL, **parts, reason=why)
    doubts = [found["doubt"] for found in (m["candidate"], m["baseline"]) if found]
    if any(doubts):
        why = f"simulated from a rate that does not count: {next(filter(None, doubts))}"
        return verdict(gate, Status.INCONCLUSIVE, **parts, reason=why)
    if m["baseline"] is None:
        why = "FP32 does not keep the objective at any rate, so there is no fleet to compare with"
        return verdict(gate, Status.NO_BASELINE, **parts, reason=why)
    return None
