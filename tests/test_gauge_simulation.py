"""The whole speed procedure by simulation: its errors at the limit and its power beyond it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gauge import simulation
from gauge.judge import judge_speed
from gauge.policy import Limit
from gauge.sequential import LOOKS, Outcome, decide
from gauge.simulation import NOISES, Errors, simulate

SEQUENCES = 60_000


@pytest.fixture(scope="module")
def at_the_limit() -> dict[str, Errors]:
    return {noise: simulate(noise, 0.0, SEQUENCES, seed=7) for noise in NOISES}


@pytest.mark.parametrize(
    ("noise", "passed", "failed"),
    [
        ("normal", (0.045, 0.051), 0.0013),
        ("t4", (0.036, 0.044), 0.0013),
        ("contaminated", (0.038, 0.048), 0.0013),
        ("mixed", (0.036, 0.046), 0.0013),
        # Why cells take their processes in turns and never one cell's back to back.
        ("autocorrelated", (0.135, 0.145), 0.018),
    ],
)
def test_a_cell_at_its_limit_passes_and_fails_as_rarely_as_told(
    at_the_limit, noise, passed, failed
):
    found = at_the_limit[noise]
    low, high = found.interval(found.passed, 0.999)
    assert low < passed[1]
    assert high > passed[0]
    assert found.interval(found.failed, 0.999)[0] < failed
    assert found.confirmed <= found.failed
    assert found.sequences == SEQUENCES


@pytest.mark.parametrize("noise", ["normal", "t4", "contaminated", "mixed"])
def test_a_failure_by_chance_is_not_confirmed(at_the_limit, noise):
    assert at_the_limit[noise].confirmed <= 1


@pytest.mark.parametrize("noise", ["normal", "t4", "contaminated", "mixed"])
def test_opt_33_the_same_model_on_both_sides_raises_no_alarm(noise):
    """200 pairs, an alarm at 5 % slower, noise of 1 % and of more than the 5 %."""
    drawn = simulation.draw(noise, np.random.default_rng(33), 200, 24)
    for sigma in (0.01, 0.2):
        verdicts = [speed_of(sigma * row, 0.95) for row in drawn]
        assert verdicts.count("FAIL") == 0
        if sigma == 0.01:
            assert verdicts.count("PASS") == 200
        else:
            # The limit lies a quarter of a sigma away: nothing to be told apart.
            assert verdicts.count("INCONCLUSIVE") > 120


def speed_of(row, limit):
    """The verdict on a cell whose processes gave these log-ratios, first run and fresh run."""
    measured = {"first": row[:12].tolist(), "confirming": row[12:].tolist()}
    return judge_speed(measured, Limit("speed", min=limit, source="p:1", reason="r")).status.value


def test_a_slow_cell_is_found_and_confirmed():
    found = simulate("normal", -2.5, 5_000, seed=1)
    assert found.interval(found.confirmed)[0] > 0.99
    assert found.passed == 0


def test_a_fast_cell_passes_soon():
    found = simulate("normal", 30.0, 5_000, seed=1)
    assert found.passed > 0.98 * found.sequences
    assert found.processes < 2.3 * found.sequences


@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_has_mean_0_and_sd_1(noise):
    drawn = simulation.draw(noise, np.random.default_rng(3), 100_000, 24)
    assert drawn.mean() == pytest.approx(0, abs=0.005)
    assert drawn.std() == pytest.approx(1, abs=0.02)


def test_the_autocorrelated_noise_is():
    drawn = simulation.draw("autocorrelated", np.random.default_rng(3), 50_000, 12)
    assert np.corrcoef(drawn[:, 4], drawn[:, 5])[0, 1] == pytest.approx(0.4, abs=0.02)


def test_the_simulated_rule_is_the_one_that_judges():
    names = {1: Outcome.PASS, -1: Outcome.FAIL, 0: Outcome.INCONCLUSIVE}
    for distance in (-3.0, 0.0, 1.5):
        drawn = distance + simulation.draw("t4", np.random.default_rng(4), 150, 12)
        outcomes, taken = simulation.run(drawn)
        for row, outcome, count in zip(drawn, outcomes, taken, strict=True):
            decision = decide((0.006 * row).tolist(), 1.0)
            assert (decision.status, decision.look) == (names[outcome], count)


def test_the_confirming_run_is_a_fresh_one():
    # Two bad runs in a row confirm; a bad one before a good one does not.
    bad, good = np.full(12, -1.0), np.full(12, 1.0)
    ripple = np.tile([0.01, -0.01], 12)
    rows = np.array([np.r_[bad, bad], np.r_[bad[:6], good, good[:6]]]) + ripple
    found = simulation._errors(rows, LOOKS)
    assert (found.failed, found.confirmed, found.inconclusive) == (2, 1, 1)


def test_intervals_are_exact():
    # No event in 2,995: at most 3 / n, the rule of three.
    low, high = Errors(sequences=2995).interval(0, 0.90)
    assert (low, high) == (0.0, pytest.approx(1 - 0.05 ** (1 / 2995)))
    assert high == pytest.approx(0.001, rel=1e-3)


def test_an_unknown_noise_is_named():
    with pytest.raises(ValueError, match="'pink'; known are normal, t4"):
        simulate("pink")
    assert math.isfinite(simulate("normal", sequences=10).processes)
