"""Spending, repeated p values and the order of triage, against published numbers and by chance."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats

from gauge import paired, tango, triage
from gauge.judge_training import FAIL_LEVEL, judge_training_accuracy
from gauge.policy import Limit
from gauge.sequential import FAIL_LEVELS, LOOKS, PASS_LEVELS, Outcome, decide
from gauge.spending import SMALLEST, nominal_levels, obrien_fleming, pocock, repeated_p
from gauge.verdict import Status

# Y. Benjamini, Y. Hochberg (1995), section 4: 15 hypotheses about thrombolysis in infarction.
PUBLISHED = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000),
]


def test_the_levels_of_the_gates_are_those_that_the_spending_gives():
    """To the digits that gauge.sequential states."""
    for total, spend, levels in ((0.001, obrien_fleming, FAIL_LEVELS), (0.04, pocock, PASS_LEVELS)):
        found = nominal_levels(total, triage.SHARES, spend)
        for look, level in zip(LOOKS, found, strict=True):
            assert level == pytest.approx(levels[look], rel=0.006), look


def test_one_look_at_everything_has_the_level_itself():
    assert nominal_levels(0.03, [1.0], pocock) == [pytest.approx(0.03)]
    assert repeated_p([0.03], [1.0]) == pytest.approx(0.03, rel=1e-3)


def test_published_levels_of_five_equal_looks():
    """Lan and DeMets' boundary at one-sided .025, as the R package ldbounds prints it."""
    found = nominal_levels(0.025, [0.2, 0.4, 0.6, 0.8, 1.0], obrien_fleming)
    assert [-special.ndtri(one) for one in found] == [
        pytest.approx(z, abs=0.006) for z in (4.877, 3.357, 2.680, 2.290, 2.031)
    ]


@pytest.mark.parametrize("limit", [0.9, 1.0, 1.2])
def test_a_repeated_p_below_a_thousandth_is_what_the_gate_calls_fail(limit):
    generator = np.random.default_rng(3)
    agreed = 0
    for distance in np.linspace(-0.06, 0.01, 120):
        ratios = list(math.log(limit) + distance + 0.01 * generator.standard_normal(12))
        decision = decide(ratios, limit)
        # Where the sequence goes on after a PASS, it has been decided already.
        if decision.status is Outcome.PASS:
            continue
        p = triage.speed_p({"processes": ratios[: decision.look]}, limit)
        failed = decision.status is Outcome.FAIL
        assert (p <= 0.001 * triage.INFLATED) == failed, (p, decision)
        agreed += failed
    assert agreed > 20


def test_at_the_limit_a_repeated_p_is_as_small_as_it_says():
    """P(p <= a) <= a, but for three standard errors of the simulation."""
    generator = np.random.default_rng(11)
    sequences = 1.2 + generator.standard_normal((6_000, LOOKS[-1]))
    limit = math.exp(1.2)
    found = np.array([triage.speed_p({"processes": list(one)}, limit) for one in sequences])
    for level in (0.001, 0.01, 0.05, 0.1, 0.2, 0.5):
        seen = float((found <= level).mean())
        assert seen <= level + 3 * math.sqrt(level / len(found)), (level, seen)
        assert seen >= 0.6 * level - 3 * math.sqrt(level / len(found)), (level, seen)


def test_a_training_step_is_tried_as_any_speed_is():
    slow = [-0.2, -0.21, -0.19, -0.2, -0.2, -0.21]
    record = {"status": "FAIL", "low": 0.7, "limit": {"min": 1.0}, "evidence": {"processes": slow}}
    found = [triage.p_value({**record, "gate": gate}) for gate in ("speed", "training_speed")]
    assert found[0] == found[1] < 0.001


@given(
    drops=st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=8),
    limit=st.floats(0.001, 0.04),
)
def test_trainings_are_tried_by_the_t_test_that_judges_them(drops, limit):
    measured = {
        "seeds": list(range(len(drops))),
        "baseline": [0.9] * len(drops),
        "candidate": [0.9 - drop for drop in drops],
        "samples": 1000,
    }
    verdict = judge_training_accuracy(measured, Limit("training_accuracy", max=limit))
    p = triage.p_value(verdict.record())
    assume(not math.isclose(p, FAIL_LEVEL, rel_tol=1e-6))
    assert (p < FAIL_LEVEL) == (verdict.status is Status.FAIL)
    if statistics.stdev(drops) > 0.0011:
        tested = stats.ttest_1samp(verdict.evidence["drops"], limit, alternative="greater")
        assert p == pytest.approx(max(tested.pvalue, SMALLEST), rel=1e-6)


def test_a_failure_that_was_not_reproduced_is_less_sure_than_one_that_was():
    slow = [-0.2, -0.21, -0.19, -0.2, -0.2, -0.21, -0.2, -0.19, -0.2, -0.2, -0.2, -0.21]
    good = [0.01, 0.02, 0.0, 0.01]
    alone = triage.speed_p({"processes": slow}, 1.0)
    both = triage.speed_p({"processes": slow, "confirming": slow}, 1.0)
    assert alone == both < 1e-6
    assert triage.speed_p({"processes": slow, "confirming": good}, 1.0) > 0.5


def test_q_values_are_the_published_ones():
    q = triage.q_values(PUBLISHED)
    assert sum(one <= 0.05 for one in q) == 4
    assert q[3] == pytest.approx(0.0095 * 15 / 4)
    assert sum(one <= 0.05 / 15 for one in PUBLISHED) == 3  # what Bonferroni would keep
    assert triage.q_values([]) == []


def accuracy(b: int, c: int, n: int, **changed: object) -> dict:
    evidence = {"b": b, "c": c, "groups": None, "method": paired.TANGO}
    return {
        "gate": "accuracy",
        "status": "FAIL",
        "value": (b - c) / n,
        "low": tango.tango_bound(b, c, n, 0.995, upper=False),
        "limit": {"max": 0.01, "min": None},
        "candidate": {"n": n},
        "evidence": evidence,
        **changed,
    }


def test_the_accuracy_s_p_falls_below_half_a_percent_where_the_gate_fails():
    for b in range(20, 90, 3):
        record = accuracy(b, 5, 2000)
        result = paired.compare([1] * b + [0] * 5 + [1] * (1995 - b),
                                [0] * b + [1] * 5 + [1] * (1995 - b), 0.01)  # fmt: skip
        assert (triage.p_value(record) <= 0.005) == (result.status == "FAIL"), b


def test_few_differing_samples_are_judged_exactly():
    p = triage.p_value(accuracy(12, 0, 600))
    assert p >= stats.binom.sf(11, 600, 0.01)


def test_the_bootstrap_s_p_agrees_with_its_bound():
    terms = {"b": 30, "c": 5, "groups": 40, "method": "bootstrap over groups"}
    for low, expected in ((0.01, 0.005), (0.0, 1), (0.015, 0)):
        p = triage.p_value(accuracy(30, 5, 500, value=0.03, low=low, evidence=terms))
        if low == 0.01:
            assert p == pytest.approx(expected)
        else:
            assert (p < 0.005) == (low > 0.01)


def test_only_gates_that_leave_something_to_chance_are_marked():
    speed = {
        "gate": "speed",
        "status": "PASS",
        "low": 1.1,
        "limit": {"min": 1.0, "max": None},
        "evidence": {"processes": [0.2, 0.21, 0.19]},
    }
    others = [
        {**speed, "status": "WAIVED"},
        {**speed, "status": "NO_EXPECTATION", "limit": None},
        {**speed, "low": None, "status": "ERROR"},
        {**speed, "gate": "size"},
    ]
    records = [accuracy(80, 5, 2000), speed, *others]
    marked = triage.mark(records)
    told = [record["evidence"].get("triage") for record in marked]
    assert told[2:] == [None] * 4
    assert told[0]["of"] == told[1]["of"] == 2
    assert told[0]["q"] == pytest.approx(2 * told[0]["p"])
    assert told[1]["p"] > 0.9
    assert "triage" not in records[0]["evidence"], "the records given stay as they are"


def test_equal_ratios_have_a_p_value_too():
    assert triage.speed_p({"processes": [-0.5, -0.5, -0.5]}, 1.0) < 1e-9
    assert triage.speed_p({"processes": [0.0, 0.0]}, 1.0) == 1.0
