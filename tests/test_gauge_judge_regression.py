"""The regression gate's verdict: only a slowdown that timing both artifacts confirms fails."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.judge import judge_regression
from gauge.policy import Limit, NoExpectation
from gauge.sequential import LOOKS, decide
from gauge.verdict import Status

LIMIT = Limit("regression", min=0.97)
NOISE = (0.002, -0.003, 0.001, 0.004, -0.002, 0.0, 0.003, -0.001, 0.002, -0.004, 0.001, -0.002)


def logs(ratio: float, count: int = 12) -> list[float]:
    return [math.log(ratio) + one for one in NOISE[:count]]


def speed(**changes: Any) -> dict[str, Any]:
    """A speed that is not suspect."""
    part = {
        "batch": 1, "ratio": 1.0, "low": 0.99, "high": 1.01, "worse": False, "suspected": None,
        "software": [],
    }  # fmt: skip
    return {**part, **changes}


def suspect(**changes: Any) -> dict[str, Any]:
    return speed(**{"ratio": 0.8, "worse": True, "suspected": "0.800 of it", **changes})


def confirmation(ratio: float, again: float | None = None) -> dict[str, Any]:
    fresh = None if again is None else logs(again)
    return {"first": logs(ratio), "confirming": fresh}


def judged(*parts: dict[str, Any], limit: Limit | NoExpectation = LIMIT, **more: Any):
    return judge_regression({"run": "R", "speed": list(parts), "notes": [], **more}, limit)


def test_an_equal_cell_passes_with_its_ratio():
    found = judged(speed(), accuracy={"worse": False, "text": "…"}, size=1.0)
    assert (found.status, found.value, found.reason) == (Status.PASS, 1.0, None)


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        (0.8, 0.8, Status.FAIL),
        (0.8, None, Status.INCONCLUSIVE),
        (0.8, 1.0, Status.INCONCLUSIVE),
        (1.0, None, Status.PASS),
        (0.97, None, Status.INCONCLUSIVE),
    ],
)
def test_what_timing_both_artifacts_says_decides(first, again, status):
    found = judged(suspect(confirmation=confirmation(first, again)))
    assert found.status is status
    if status is Status.FAIL:
        assert "0.800 of it; both artifacts timed in turns here: 0.800" in found.reason
        assert "confirmed by a fresh run" in found.reason
        assert found.value == pytest.approx(0.8, abs=0.005)
    if status is Status.PASS:
        assert "not confirmed" in found.evidence["passed"][0]


def test_without_the_earlier_artifact_it_is_undecided():
    found = judged(suspect(confirmation={"problem": "the artifact of R is not in this cache"}))
    assert found.status is Status.INCONCLUSIVE
    assert found.reason.endswith("not confirmed: the artifact of R is not in this cache")


@pytest.mark.parametrize(
    ("worse", "software", "status"),
    [
        (True, ["onnxruntime: 1, then 2"], Status.INCONCLUSIVE),
        (False, ["onnxruntime: 1, then 2"], Status.PASS),
        (True, [], Status.PASS),
    ],
)
def test_the_same_artifact_is_no_regression_of_its_own(worse, software, status):
    found = judged(suspect(worse=worse, software=software, same_artifact=True))
    assert found.status is status
    if status is Status.INCONCLUSIVE:
        assert "what runs it is slower (onnxruntime: 1, then 2)" in found.reason


def test_an_artifact_as_fast_as_the_earlier_one_is_not_blamed_for_its_runtime():
    part = suspect(confirmation=confirmation(1.0), software=["torch: 1, then 2"])
    assert judged(part).status is Status.INCONCLUSIVE


def test_the_worst_part_decides():
    lost = {"worse": True, "text": "score 0.9 where the accepted run R had 0.95"}
    found = judged(speed(), accuracy=lost)
    assert (found.status, found.reason) == (Status.FAIL, lost["text"])
    found = judged(speed(), suspect(batch=8, confirmation=confirmation(0.7, 0.7)))
    assert found.status is Status.FAIL
    assert "batch 8" in found.reason
    found = judged(speed(), size=1.2)
    assert found.status is Status.FAIL
    assert "the size is 1.200 of the accepted run's, and at most 1.03 is asked" in found.reason


def test_nothing_to_compare_with_is_no_baseline_and_a_new_cell_has_no_expectation():
    found = judge_regression({"absent": "the history holds no run yet"}, LIMIT)
    assert (found.status, found.reason) == (Status.NO_BASELINE, "the history holds no run yet")
    assert judged(new=True).status is Status.NO_EXPECTATION
    found = judge_regression({"run": "R", "speed": [], "notes": ["accuracy: 3, then 4"]}, LIMIT)
    assert found.status is Status.NO_BASELINE
    assert "accuracy: 3, then 4" in found.reason


def test_the_policy_may_expect_nothing():
    found = judged(suspect(confirmation=confirmation(0.5, 0.5)), limit=NoExpectation("not yet"))
    assert (found.status, found.reason) == (Status.NO_EXPECTATION, "not yet")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_ratio_that_is_no_number_passes_nothing(bad):
    part = suspect(confirmation={"first": [bad] * 4, "confirming": None})
    assert judged(part).status is Status.INCONCLUSIVE
    assert judged(speed(), size=bad).status is Status.FAIL


ratios = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


@given(ratios, st.none() | ratios)
def test_it_fails_just_where_both_sequences_do(first, again):
    found = judged(suspect(confirmation={"first": first, "confirming": again}))
    both = [decide(one, 0.97, LOOKS).status for one in (first, again) if one]
    fails = len(both) == 2 and both == ["FAIL", "FAIL"]
    assert (found.status is Status.FAIL) == fails
