"""Judging trainings: no fault of a run passes, and seeds decide the accuracy."""

from __future__ import annotations

import math

import pytest

from gauge.judge_training import judge_training_accuracy, judge_training_steps
from gauge.policy import DEFAULTS, NoExpectation
from gauge.verdict import Status

SOUND = {
    "seed": 0, "attempted": 100, "taken": 99, "settling": 0,
    "nonfinite_losses": 0, "nonfinite_weights": 0, "layers": 3, "low": 3,
    "dtype": "float16", "scaled": True, "scale": 32768.0,
}  # fmt: skip


def steps(*runs: dict, limit=DEFAULTS["training_steps"]):
    return judge_training_steps(runs, limit)


def test_a_sound_run_passes_with_its_share_of_steps():
    found = steps(SOUND, {**SOUND, "seed": 1, "taken": 100})
    assert (found.status, found.value) == (Status.PASS, 0.99)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"taken": 0, "settling": 100}, "all 100 steps were skipped"),
        ({"taken": 0}, "all 100 steps were skipped"),
        ({"attempted": 0, "taken": 0}, "no step was taken"),
        ({"settling": 2}, "99 updates in 100 steps, 2 before the first"),
        ({"settling": -1}, "99 updates in 100 steps, -1 before"),
        ({"taken": 80, "settling": 15}, "skipped 5 of 85 steps after 15 in which the loss's scale"),
        ({"taken": 101}, "101 updates in 100 steps"),
        ({"nonfinite_losses": 1}, "non-finite losses, 1 of 100"),
        ({"nonfinite_weights": 7}, "non-finite weights, 7"),
        ({"low": 0}, "none of 3 layers ran in float16"),
        ({"scale": None}, "the loss was not scaled"),
        ({"scale": 0.5}, "scale fell to 0.5"),
        ({"scale": math.nan}, "scale fell to nan"),
        ({"taken": 90}, "skipped 10 of 100 steps"),
    ],
)
def test_one_bad_seed_of_two_fails(change, said):
    found = steps(SOUND, {**SOUND, "seed": 1, **change})
    assert found.status is Status.FAIL
    assert said in found.reason
    assert "seed 1" in found.reason


@pytest.mark.parametrize(("settling", "scale"), [(0, 65536.0), (9, 128.0), (16, 1.0)])
def test_steps_that_find_the_scale_do_not_count_and_its_fall_below_1_does(settling, scale):
    """The 20 steps of FP16 on a CPU: 2^16 is halved 16 times at most."""
    run = {**SOUND, "attempted": 20, "settling": settling, "taken": 20 - settling, "scale": scale}
    found = steps(run)
    assert (found.status, found.value) == (Status.PASS, 1.0)
    lower = {**run, "settling": 17, "taken": 3, "scale": 0.5}
    assert steps(lower).status is Status.FAIL
    assert "gradients overflow at any scale" in steps(lower).reason
    assert steps({**run, "settling": 20, "taken": 0, "scale": 2.0**-4}).status is Status.FAIL


def test_a_fault_fails_where_no_limit_is_set():
    assert steps({**SOUND, "taken": 0}, limit=NoExpectation("none")).status is Status.FAIL
    assert steps(SOUND, limit=NoExpectation("none")).status is Status.NO_EXPECTATION
    assert steps().status is Status.FAIL


def accuracy(old, new, limit=DEFAULTS["training_accuracy"]):
    measured = {"seeds": [0, 1, 2], "baseline": old, "candidate": new, "samples": 1000}
    return judge_training_accuracy(measured, limit)


@pytest.mark.parametrize(
    ("new", "status"),
    [
        ([0.961, 0.960, 0.962], Status.PASS),
        ([0.930, 0.931, 0.929], Status.FAIL),
        ([0.955, 0.970, 0.940], Status.INCONCLUSIVE),
        ([0.960, 0.961, math.nan], Status.FAIL),
        ([0.960, 0.961], Status.ERROR),
    ],
)
def test_seeds_decide(new, status):
    found = accuracy([0.960, 0.961, 0.962], new)
    assert found.status is status, found


def test_seeds_that_lose_alike_are_no_surer_than_a_sample():
    found = accuracy([0.96] * 3, [0.96] * 3)
    assert found.low < 0 < found.high
    assert found.high == pytest.approx(2.92 / 1000 / math.sqrt(3), rel=1e-3)


def test_a_baseline_that_is_not_finite_is_an_error():
    assert accuracy([math.nan, 0.9, 0.9], [0.9, 0.9, 0.9]).status is Status.ERROR
