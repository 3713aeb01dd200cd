"""In which order to look at gates that fail or stay undecided: the surest first. Pure.

Each gate that judges by chance gets a p value of "it keeps its limit", and the false discovery
rate orders them (Y. Benjamini, Y. Hochberg, Journal of the Royal Statistical Society B 57, 1995).
It decides nothing: PASS needs no correction, since a release passes only if every gate does, and
a speed FAIL counts after a second one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gauge import margins, paired, tango
from gauge.sequential import LOOKS
from gauge.spending import SMALLEST, repeated_p
from gauge.verdict import TIMED_GATES

TRIED = ("PASS", "FAIL", "INCONCLUSIVE")
SHARES = tuple(look / LOOKS[-1] for look in LOOKS)

INFLATED = 1.08
"""What a repeated p value is multiplied by: t tests at successive looks are less alike than the z
tests that the levels are made for. Simulated at the limit with 60,000 sequences, P(p <= a) was up
to 1.07 a under normal noise and 1.08 a under t4 noise before, for a from .001 to .5.
"""


def p_value(record: Mapping[str, Any]) -> float | None:
    """The p value of a verdict's "the limit is kept", from its record; None where there is none.

    Gates without an interval (evidence, reload, size, ...) leave nothing to chance. A waived one
    is not tried again.
    """
    if record["status"] not in TRIED or record.get("low") is None:
        return None
    limit = record.get("limit") or {}
    if record["gate"] in TIMED_GATES and limit.get("min"):
        return speed_p(record["evidence"], limit["min"])
    if record["gate"] == "training_accuracy" and limit.get("max") is not None:
        return seeds_p(record["evidence"], limit["max"])
    if record["gate"] == "accuracy" and limit.get("max") is not None:
        return accuracy_p(record, limit["max"])
    return None


def speed_p(evidence: Mapping[str, Any], limit: float) -> float:
    """The repeated p value of "not slower than the limit".

    evidence: "processes": log-ratios, and "confirming" where a fresh run was made to confirm a
    failure: both must then say so, and the larger p counts.
    """
    runs = [evidence["processes"], *filter(None, [evidence.get("confirming")])]
    p = max(repeated_p(_looks(run, math.log(limit)), SHARES) for run in runs)
    return min(1.0, INFLATED * p)


def _looks(log_ratios: Sequence[float], log_limit: float) -> list[float]:
    """The one-sided t test's p value of each look that was reached."""
    from scipy.special import stdtr

    found = []
    for look in LOOKS:
        if look > len(log_ratios):
            break
        values = log_ratios[:look]
        distance = statistics.fmean(values) - log_limit
        error = statistics.stdev(values) / math.sqrt(look)
        # Without any variance there is nothing to test with; equal ratios speak for themselves.
        found.append(float(stdtr(look - 1, distance / error)) if error else float(distance >= 0))
    return found


def accuracy_p(record: Mapping[str, Any], margin: float) -> float:
    """The p value of "the drop is at most the margin", by the test that the verdict rests on."""
    from scipy.stats import norm, t

    evidence = record["evidence"]
    b, c, n = evidence["b"], evidence["c"], record["candidate"]["n"]
    if evidence["method"] == paired.TANGO:
        p = float(norm.sf(tango.tango_statistic(b, c, n, margin)))
        exact = tango.at_least(b - c, n, margin) if b + c < margins.FEW else 0.0
        return max(p, exact, SMALLEST)
    # Groups, other scores: as if the drop were t distributed with the spread that its bound tells.
    df = (evidence.get("groups") or n) - 1
    spread = (record["value"] - record["low"]) / float(t.ppf(margins.FAIL_LEVEL, df))
    if spread <= 0:
        return SMALLEST if record["value"] > margin else 1.0
    return max(SMALLEST, float(t.sf((record["value"] - margin) / spread, df)))


def seeds_p(evidence: Mapping[str, Any], margin: float) -> float:
    """The p value of "trained models drop by at most the margin": the paired t test over seeds.

    evidence: "drops", one a seed, and "sigma", their SD with the floor that the gate gives it.
    """
    from scipy.stats import t

    drops = evidence["drops"]
    error = evidence["sigma"] / math.sqrt(len(drops))
    p = float(t.sf((statistics.fmean(drops) - margin) / error, len(drops) - 1))
    return max(SMALLEST, p)


def q_values(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values of Benjamini and Hochberg: the share of false alarms up to here."""
    from scipy.stats import false_discovery_control

    return [float(q) for q in false_discovery_control(p_values)] if p_values else []


def mark(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records, those that were tried by chance with {"p", "q", "of"} as evidence "triage"."""
    found = [p_value(record) for record in records]
    tried = [number for number, p in enumerate(found) if p is not None]
    marked = [dict(record) for record in records]
    q = q_values([p for p in found if p is not None])
    for number, value in zip(tried, q, strict=True):
        told = {"p": found[number], "q": value, "of": len(tried)}
        marked[number]["evidence"] = {**records[number]["evidence"], "triage": told}
    return marked
