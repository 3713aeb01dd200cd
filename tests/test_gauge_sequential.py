"""Speed: the sequential test's errors by simulation, its decisions, and the A/A control."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from gauge.clearance import too_near
from gauge.sequential import (
    FAIL_LEVELS,
    LOOKS,
    PASS_LEVELS,
    QUICK_LOOKS,
    Decision,
    Outcome,
    conclude,
    control,
    decide,
    decision_text,
    estimate,
)


def around(ratio, count, sigma=0.006, seed=0):
    """Log-ratios with exactly this mean and SD."""
    noise = np.random.default_rng(seed).standard_normal(count)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return (math.log(ratio) + sigma * noise).tolist()


def shares(noise):
    """How often sequences at their limit PASS and FAIL, all at once."""
    alive = np.ones(len(noise), bool)
    passed = failed = 0
    for look in LOOKS:
        part = noise[:, :look]
        t = part.mean(1) / (part.std(1, ddof=1) / math.sqrt(look))
        passes = alive & (special.stdtr(look - 1, -t) <= PASS_LEVELS[look])
        fails = alive & (special.stdtr(look - 1, t) <= FAIL_LEVELS[look])
        passed, failed = passed + passes.sum(), failed + fails.sum()
        alive &= ~(passes | fails)
    return passed / len(noise), failed / len(noise)


def test_the_levels_spend_what_they_promise():
    rng = np.random.default_rng(20251125)
    passed, failed = shares(rng.standard_normal((250_000, 12)))
    # A total of .04 and .001 for z tests; t tests at successive looks add a little to the first.
    assert 0.044 < passed < 0.052
    assert failed < 0.0012
    passed, failed = shares(rng.standard_t(4, (250_000, 12)))
    assert (passed < 0.044, failed < 0.0012) == (True, True)


def test_the_levels_are_those_of_known_variance():
    noise = np.random.default_rng(5).standard_normal((250_000, 12))
    passed, failed = np.zeros(len(noise), bool), np.zeros(len(noise), bool)
    for look in LOOKS:
        z = noise[:, :look].mean(1) * math.sqrt(look)
        passed |= special.ndtr(-z) <= PASS_LEVELS[look]
        failed |= special.ndtr(z) <= FAIL_LEVELS[look]
    assert passed.mean() == pytest.approx(0.04, abs=0.0015)
    assert failed.mean() == pytest.approx(0.001, abs=0.0002)


def test_decide_agrees_with_the_simulated_rule():
    noise = np.random.default_rng(6).normal(0, 0.006, (400, 12))
    found = [decide(row.tolist(), 1.0).status for row in noise]
    assert (found.count("PASS") / 400, found.count("FAIL") / 400) == shares(noise)


def test_a_cell_far_above_its_limit_stops_at_two():
    decision = decide(around(2.4, 2), 1.2)
    assert (decision.status, decision.look) == (Outcome.PASS, 2)
    assert 1.2 < decision.low < decision.value < decision.high
    assert decision.value == pytest.approx(2.4)
    assert decision.sigma == pytest.approx(0.006)


def test_a_cell_three_percent_above_its_limit_takes_three_to_six():
    found = [decide(around(1.236, 12, seed=seed), 1.2) for seed in range(100)]
    assert {decision.status for decision in found} == {Outcome.PASS}
    assert np.median([decision.look for decision in found]) in (3, 4, 6)


def test_a_slow_cell_fails_but_not_at_two():
    assert decide(around(0.6, 2), 1.2).status is Outcome.CONTINUE
    decision = decide(around(0.6, 12), 1.2)
    assert (decision.status, decision.look) == (Outcome.FAIL, 4)


def test_the_first_look_that_decides_does_so_for_good():
    early = around(2.4, 2)
    assert decide(early + around(0.5, 10, seed=1), 1.2) == decide(early, 1.2)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 11])
def test_an_unfinished_sequence_goes_on(count):
    decision = decide(around(1.2, 12)[:count], 1.2)
    assert (decision.status, decision.look, decision.reason) == (Outcome.CONTINUE, count, None)


def test_at_the_limit_it_ends_inconclusive_and_names_what_can_be_resolved():
    decision = decide(around(1.2, 12), 1.2)
    assert (decision.status, decision.look) == (Outcome.INCONCLUSIVE, 12)
    assert decision.reason.startswith("undecided after 12 processes: 1.200 (1.195 to 1.205)")
    assert "0.60 %, which resolves a distance of 1.20 %" in decision.reason


def test_quick_effort_ends_at_four():
    decision = decide(around(1.2, 4), 1.2, QUICK_LOOKS)
    assert (decision.status, decision.look) == (Outcome.INCONCLUSIVE, 4)


def test_pass_means_that_the_reported_bound_clears_the_limit():
    for seed in range(50):
        decision = decide(around(1.21, 12, seed=seed), 1.2)
        assert (decision.status is Outcome.PASS) == (decision.low > 1.2)


def test_equal_ratios_are_decided_by_their_distance_not_by_rounding():
    assert decide([0.02] * 2, 1.0).status is Outcome.PASS
    assert decide([-0.02] * 3, 1.0).status is Outcome.FAIL
    assert decide([math.log(1.2)] * 12, 1.2).status is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_a_limit_that_is_no_number_is_refused(limit):
    with pytest.raises(ValueError, match="no positive number"):
        decide([0.1, 0.1], limit)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_ratio_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        decide([0.1, value], 1.0)
    with pytest.raises(ValueError, match="not finite"):
        control({"a": [0.0, value]})


@pytest.mark.parametrize(("count", "level"), [(2, 0.0101), (5, 0.0080), (12, 0.0172), (14, 0.0172)])
def test_the_interval_is_that_of_the_last_look(count, level):
    found = estimate(around(2.0, count))
    half = -special.stdtrit(count - 1, level) * 0.006 / math.sqrt(count)
    assert math.log(found.high / 2.0) == pytest.approx(half)
    assert math.log(found.low / 2.0) == pytest.approx(-half)


@given(st.lists(st.floats(-700, 700), max_size=14), st.floats(1e-6, 1e6))
def test_any_finite_ratios_get_an_answer(values, limit):
    decision = decide(values, limit)
    assert decision.look <= 12 or decision.status is not Outcome.CONTINUE
    if decision.low is not None:
        assert decision.low <= decision.value * (1 + 1e-9)
        assert decision.high >= decision.value * (1 - 1e-9)
    assert decision_text(decision)


def test_one_process_gives_a_value_without_an_interval():
    assert estimate([math.log(2)]) == Decision(
        Outcome.CONTINUE, 1, pytest.approx(2.0), None, None, None
    )
    assert decision_text(estimate([])) == "unknown"


FAILED, PASSED = decide(around(0.6, 12), 1.2), decide(around(2.4, 12), 1.2)
OPEN, UNDECIDED = decide(around(1.2, 3), 1.2), decide(around(1.2, 12), 1.2)


@pytest.mark.parametrize(
    ("first", "confirming", "status", "reason"),
    [
        (PASSED, None, Outcome.PASS, None),
        (UNDECIDED, None, Outcome.INCONCLUSIVE, "undecided"),
        (OPEN, None, Outcome.CONTINUE, None),
        (FAILED, FAILED, Outcome.FAIL, "confirmed by a fresh run (0.60"),
        (FAILED, PASSED, Outcome.INCONCLUSIVE, "not reproduced: 0.60"),
        (FAILED, UNDECIDED, Outcome.INCONCLUSIVE, "not reproduced"),
        (FAILED, OPEN, Outcome.INCONCLUSIVE, "no fresh run was completed"),
        (FAILED, None, Outcome.INCONCLUSIVE, "no fresh run was completed"),
    ],
)
def test_a_failure_needs_a_fresh_run_that_fails_too(first, confirming, status, reason):
    final = conclude(first, confirming)
    assert final.status is status
    assert (reason in final.reason) if reason else final.reason is None
    assert final.value == first.value


@pytest.mark.parametrize(
    ("limit", "value", "sigma", "near"),
    [
        (1.0, 1.02, 0.004, True),
        (1.0, 1.04, 0.004, False),
        (0.97, 1.0001, 0.004, False),
        (1.0, 1.04, 0.02, True),
        (1.0, 1.06, 0.02, False),
        (1.0, 0.9, 0.004, True),
        (1.0, math.nan, 0.004, True),
        (1.0, 1.5, math.nan, True),
        (math.nan, 1.5, 0.004, True),
        (0.0, 1.5, 0.004, True),
    ],
)
def test_a_limit_near_the_usual_value_is_told(limit, value, sigma, near):
    assert too_near(limit, value, sigma) is near


def test_equal_arms_are_a_clean_control():
    found = control({f"m{seed}": around(1.002, 12, seed=seed) for seed in range(5)})
    assert (found.contaminated, found.warning) == (False, None)
    assert found.sd == pytest.approx(0.006)
    cell = found.cells[0]
    assert (cell.name, cell.processes, cell.value) == ("m0", 12, pytest.approx(1.002))
    t = -special.stdtrit(11, 0.001 / 5)
    assert math.log(cell.high / cell.value) == pytest.approx(t * 0.006 / math.sqrt(12))
    assert math.log(cell.value / cell.low) == pytest.approx(t * 0.006 / math.sqrt(12))


@pytest.mark.parametrize("ratio", [1.03, 0.97])
def test_an_arm_wholly_outside_one_percent_contaminates_the_run(ratio):
    found = control({"a": around(1.0, 12), "b": around(ratio, 12)})
    assert found.contaminated
    assert [cell.contaminated for cell in found.cells] == [False, True]


def test_an_interval_that_touches_one_percent_does_not():
    assert not control({"a": around(1.012, 12)}).contaminated


def test_noise_between_processes_is_a_warning():
    found = control({"a": around(1.0, 12, 0.012), "b": around(1.0, 12, 0.014)})
    assert found.sd == pytest.approx(math.sqrt((0.012**2 + 0.014**2) / 2))
    assert found.warning == "SD of the A/A cells is 1.3 % (above 0.9 %: noisy)"


def test_no_control_is_said_and_a_single_process_has_no_interval():
    assert control({}).warning == "no A/A cell was measured"
    found = control({"a": [0.5]})
    assert (found.contaminated, found.cells[0].low, found.sd) == (False, None, None)
    assert control({"a": [0.0, 0.001]}).sd == pytest.approx(0.001 / math.sqrt(2))


def test_contamination_is_as_rare_as_its_level():
    noise = np.random.default_rng(8).normal(math.log(1.01), 0.006, (100_000, 12))
    half = -special.stdtrit(11, 0.001) * noise.std(1, ddof=1) / math.sqrt(12)
    false = (noise.mean(1) - half > math.log(1.01)).mean()
    assert false == pytest.approx(0.001, abs=0.0004)
