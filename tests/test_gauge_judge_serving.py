"""Judging loads: what is invalid is undecided, what cannot be met fails by how much."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge import judge_cloud
from gauge import judge_serving as judges
from gauge.policy import Limit, NoExpectation
from gauge.rates import ratio
from gauge.verdict import Status

NEAREST = {"largest_batch": 1, "wait_ms": 0.0, "p99_s": 0.03, "rate": None}
LATENCY = Limit("realtime_latency", max=1.0)
RATE = Limit("realtime_rate", min=1.0)
PRICE = {"hour": 0.36, "currency": "USD", "example": True, "source": "policy.toml:9"}
NO_PRICE = {"hour": None, "currency": "", "example": False, "source": "policy.toml"}


def run(rate=None, **changes):
    """A valid LoadGen run."""
    return {
        "scenario": "Server",
        "valid": True,
        "reasons": [],
        "advice": None,
        "queries": 900,
        "rate": rate,
        "p50_s": 0.01,
        "p90_s": 0.02,
        "p99_s": 0.03,
        "bound_s": 0.03,
        "largest_batch": 8,
        "wait_ms": 0.0,
        **changes,
    }


INVALID = {
    "valid": False,
    "reasons": ["60 queries are too few to vouch for 99 of 100 answers"],
    "advice": "give it longer runs with --effort thorough",
}


def latency(deadline, **changes):
    m = {"run": run(**changes), "deadline_s": deadline, "nearest": NEAREST, "extra": {}}
    return judges.judge_latency(m, LATENCY)


def rates(baseline, candidate, limit=RATE, runs=None, **changes):
    old, new = runs or ([run(rate) for rate in baseline], [run(rate) for rate in candidate])
    m = {
        "baseline": old,
        "candidate": new,
        "same": False,
        "deadline_s": 0.02,
        "nearest": NEAREST,
        "what": "queries a second",
        "extra": {},
        **changes,
    }
    return judges.judge_rates("realtime_rate", m, limit)


def test_a_deadline_that_is_kept_passes():
    found = latency(0.06)
    assert found.status is Status.PASS
    assert found.value == pytest.approx(0.5)
    assert found.candidate["p99_s"] == 0.03


def test_an_impossible_deadline_fails_by_how_much_and_names_the_nearest_policy():
    found = latency(0.01)
    assert found.status is Status.FAIL
    assert found.value == pytest.approx(3.0)
    assert "30 ms of the deadline of 10 ms, 20 ms too long" in found.reason
    assert "the nearest policy is batches of up to 1 with no wait" in found.reason


def test_what_loadgen_calls_invalid_is_inconclusive_with_advice():
    found = latency(0.06, scenario="SingleStream", **INVALID)
    assert found.status is Status.INCONCLUSIVE
    assert "LoadGen calls the SingleStream run INVALID: 60 queries are too few" in found.reason
    assert "--effort thorough" in found.reason


@pytest.mark.parametrize("lost", [math.nan, None, math.inf])
def test_a_latency_that_is_no_number_never_passes(lost):
    assert latency(0.06, bound_s=lost).status is Status.ERROR


def test_rates_pass_where_the_bound_clears_the_limit():
    found = rates([100, 104, 102], [150, 160, 155])
    assert found.status is Status.PASS
    assert found.value == pytest.approx(1.52, abs=0.01)
    assert 1.4 < found.low < found.value < found.high < 1.6
    assert found.candidate["largest_batch"] == 8


def test_rates_fail_where_the_bound_is_beyond_the_limit():
    found = rates([100, 104, 102], [79, 81, 80])
    assert found.status is Status.FAIL
    assert "80 queries a second are 0.784 of FP32's 102, and at least 1 is asked" in found.reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([100, 120], [110, 130]),
        ([27425, 36513], [26073, 18170]),  # seen on a busy machine, of the faster of the two
        ([100, 100], [99, 99]),  # equal rates are a step of the search, not certainty
        ([100], [10]),  # one process a side has no spread
    ],
)
def test_rates_that_may_lie_on_either_side_are_undecided(old, new):
    found = rates(old, new)
    assert found.status is Status.INCONCLUSIVE
    assert "--effort thorough takes more processes" in found.reason
    assert cost(PRICE, old, new).status is Status.INCONCLUSIVE


FAILING = ([100, 104, 102], [79, 81, 80])


@pytest.mark.parametrize(
    ("fresh", "status", "said"),
    [
        (([100, 101, 102], [80, 80, 82]), Status.FAIL, "80.66 queries a second"),
        (([100, 101, 102], [99, 100, 102]), Status.INCONCLUSIVE, "give 0.993"),
        (([100, 101, 102], [150, 150, 151]), Status.INCONCLUSIVE, "give 1.49"),
        (([100, 101, 102], []), Status.FAIL, "no batching policy keeps the deadline"),
    ],
)
def test_a_failure_stands_where_fresh_processes_fail_too(fresh, status, said):
    first = rates(*FAILING)
    found = judges.reproduced(first, rates(*fresh))
    assert found.status is status
    assert said in found.reason
    assert found.evidence["first"]["value"] == first.value
    if status is not Status.FAIL:
        assert found.reason.startswith("not reproduced: 80 queries a second are 0.784")


def test_an_invalid_run_of_either_side_decides_nothing():
    bad = [run(100, **INVALID)]
    for sides in ((bad, [run(200)]), ([run(100)], bad)):
        found = rates([], [], runs=sides)
        assert found.status is Status.INCONCLUSIVE


def test_fp32_itself_is_told_and_not_held():
    found = rates([100], [100], same=True)
    assert (found.status, found.value) == (Status.NO_EXPECTATION, 1.0)


def test_no_policy_within_the_deadline_fails_by_how_much():
    found = rates([100], [])
    assert found.status is Status.FAIL
    assert found.value is None
    assert "no batching policy keeps the deadline of 20 ms" in found.reason
    assert "takes 30 ms for 99 of 100 answers, 10 ms too long" in found.reason
    told = rates([100], [], NoExpectation("not asked here"))
    assert told.status is Status.NO_EXPECTATION


def test_fp32_without_a_rate_is_no_baseline():
    found = rates([], [80])
    assert found.status is Status.NO_BASELINE
    assert "80 queries a second, and FP32 does not keep the deadline" in found.reason


@pytest.mark.parametrize("lost", [0.0, math.nan, None, -1.0])
def test_a_rate_that_is_no_number_never_passes(lost):
    assert rates([100], [lost]).status is Status.ERROR
    assert rates([lost], [100]).status is Status.ERROR


SIDES = st.lists(st.floats(1, 1e5), min_size=2, max_size=5)


@given(SIDES, SIDES, st.floats(0.01, 100))
def test_a_ratio_s_bounds_are_in_order_and_decide(old, new, bound):
    one = ratio(old, new)
    assert 0 <= one.least <= one.low <= one.value <= one.high <= one.most
    turned = ratio(new, old)
    assert one.inverse.value == pytest.approx(turned.value)
    assert one.inverse.low == pytest.approx(turned.low)
    found = rates(old, new, Limit("realtime_rate", min=bound))
    assert (found.status is Status.PASS) == (one.low >= bound)
    assert (found.status is Status.FAIL) == (one.most < bound)


def test_equal_sides_seldom_pass_or_fail():
    """One in 20 passes a limit that it equals, and 1 in 200 fails, whatever the spread."""
    import numpy as np

    drawn = np.exp(np.random.default_rng(0).normal(0, 0.2, (4000, 6))).tolist()
    found = [ratio(row[:3], row[3:]) for row in drawn]
    assert 0.04 < np.mean([one.low > 1 for one in found]) < 0.06
    assert np.mean([one.most < 1 for one in found]) < 0.009


def test_a_side_without_a_process_has_no_ratio():
    with pytest.raises(ValueError, match="a process on either side"):
        ratio([], [1.0])


def cost(price, baseline=(100, 100), candidate=(200, 200), limit=None, **changes):
    m = {
        "baseline": [run(rate) for rate in baseline],
        "candidate": [run(rate) for rate in candidate],
        "same": False,
        "deadline_s": 0.02,
        "nearest": NEAREST,
        "what": "queries a second",
        "extra": {},
        "price": price,
        **changes,
    }
    return judge_cloud.judge_cost(m, limit or Limit("cloud_cost", max=1.0))


def test_money_for_a_million_by_hand():
    assert judge_cloud.million(3.6, 1000.0) == pytest.approx(1.0)
    found = cost(PRICE)
    assert found.status is Status.PASS
    assert found.value == pytest.approx(0.5)
    assert found.candidate["cost_per_million"] == pytest.approx(0.5)
    assert found.baseline["cost_per_million"] == pytest.approx(1.0)
    dear = cost(PRICE, candidate=(50, 50))
    assert dear.status is Status.FAIL
    assert "2 USD a million inferences (an example price) are 2 of FP32's 1" in dear.reason


@pytest.mark.parametrize("hour", [None, 0.0])
def test_without_a_price_cost_is_not_available(hour):
    found = cost({**NO_PRICE, "hour": hour})
    assert found.status is Status.NO_EXPECTATION
    assert found.value is None
    assert "not available: policy.toml has no price" in found.reason


def test_cost_without_a_rate_is_judged_as_the_rate():
    assert cost(PRICE, candidate=()).status is Status.FAIL
    assert cost(PRICE, baseline=()).status is Status.NO_BASELINE
    assert cost(PRICE, same=True).status is Status.NO_EXPECTATION


def simulated(hours=2.0, misses=0.001, doubt=None):
    return {
        "doubt": doubt,
        "simulated": True,
        "queries": 1000,
        "late": round(1000 * misses),
        "misses": misses,
        "p99_s": 0.03,
        "replica_hours": hours,
    }


def fleets(old, new, **changes):
    m = {"baseline": old, "candidate": new, "same": False, "price": PRICE, "extra": {}}
    m |= {"rates": [[100, 101, 102], [66, 67, 68]], **changes}
    return judge_cloud.judge_fleet(m, Limit("cloud_fleet", max=1.0)), judge_cloud.judge_misses(
        m, Limit("cloud_misses", max=0.01)
    )


def test_a_smaller_fleet_passes_and_says_that_it_is_simulated():
    fleet, misses = fleets(simulated(4.0), simulated(2.0))
    assert (fleet.status, fleet.value) == (Status.PASS, 0.5)
    assert fleet.evidence["simulated"] is True
    assert fleet.candidate["cost"] == pytest.approx(0.72)
    assert misses.status is Status.PASS
    assert misses.evidence["simulated"] is True


def test_a_larger_fleet_and_too_many_misses_fail():
    fleet, misses = fleets(simulated(2.0), simulated(3.0, 0.05))
    assert fleet.status is Status.FAIL
    assert fleet.reason.startswith("simulated: 3 replica hours are 1.5 of FP32's 2")
    assert misses.status is Status.FAIL
    assert "simulated: 50 of 1000 queries miss the objective, 5.00 %" in misses.reason


def test_a_larger_fleet_that_the_rates_do_not_vouch_for_is_undecided():
    fleet, _ = fleets(simulated(2.0), simulated(2.2), rates=[[100, 130, 90], [90, 95, 120]])
    assert fleet.status is Status.INCONCLUSIVE
    assert "undecided: simulated: 2.2 replica hours are 1.1 of FP32's 2" in fleet.reason
    assert "by the rates that it starts from it may be" in fleet.reason


def test_fleets_of_as_many_replicas_are_equal():
    fleet, _ = fleets(simulated(2.0), simulated(2.00004))
    assert (fleet.status, fleet.value) == (Status.PASS, 1.0)


def test_a_fleet_that_cannot_be_had_is_told():
    fleet, misses = fleets(simulated(), None)
    assert fleet.status is misses.status is Status.FAIL
    assert "no rate keeps the objective" in fleet.reason
    fleet, misses = fleets(None, simulated())
    assert fleet.status is Status.NO_BASELINE
    assert misses.status is Status.PASS


def test_a_fleet_simulated_from_an_invalid_rate_decides_nothing():
    doubtful = simulated(doubt="LoadGen calls the Server run INVALID")
    fleet, misses = fleets(simulated(), doubtful)
    assert fleet.status is misses.status is Status.INCONCLUSIVE
    assert "does not count: LoadGen calls the Server run INVALID" in misses.reason
    fleet, misses = fleets(doubtful, simulated())
    assert (fleet.status, misses.status) == (Status.INCONCLUSIVE, Status.PASS)


def answers(candidate, issued=400, answered=400):
    m = {
        "baseline": [1.0] * 400,
        "candidate": candidate,
        "groups": None,
        "nonfinite": {"count": 0, "of": 400, "layer": None},
        "extra": {},
        "tolerance": 1e-5,
        "issued": issued,
        "answered": answered,
    }
    return judges.judge_answers("realtime_answers", m, Limit("accuracy", max=0.01))


def test_a_fast_wrong_server_fails_and_a_right_one_passes():
    assert answers([1.0] * 400).status is Status.PASS
    wrong = answers([0.0] * 200 + [1.0] * 200)
    assert wrong.status is Status.FAIL
    assert wrong.gate == "realtime_answers"


def test_a_lost_query_is_an_error_however_right_the_others_are():
    found = answers([1.0] * 400, answered=399)
    assert found.status is Status.ERROR
    assert "400 queries were issued and 399 answered" in found.reason
