"""Judging accuracy and fidelity, non-finite outputs and metrics included."""

import json
import math

import numpy as np
import pytest

from gauge.judge import judge_accuracy, judge_fidelity
from gauge.policy import DEFAULTS, Limit, NoExpectation
from gauge.tango import tango_bound
from gauge.verdict import Status
from gauge.worst_class import worst_class

LIMIT = DEFAULTS["accuracy"]
LOOSE = Limit("accuracy", max=0.03)
NOTHING = NoExpectation("no limit here")


def scores(n=2000, lost=0, gained=0):
    old, new = np.ones(n), np.ones(n)
    new[:lost] = 0
    old[lost : lost + gained] = 0
    return {"baseline": old, "candidate": new}


def written(verdict):
    return json.loads(json.dumps(verdict.record(), allow_nan=False))


def test_kept_accuracy_passes_with_its_numbers():
    m = {**scores(2000, 5, 3), "extra": {"flip_rate": 0.01}}
    row = written(judge_accuracy(m, LIMIT))
    assert (row["status"], row["reason"], row["unit"]) == ("PASS", None, "fraction")
    assert row["value"] == pytest.approx(0.001)
    assert row["low"] < row["value"] < row["high"] < 0.01
    assert row["baseline"] == {"score": pytest.approx(0.9985), "n": 2000}
    assert row["candidate"] == {"score": pytest.approx(0.9975), "n": 2000}
    smallest = row["evidence"].pop("smallest_drop")
    assert 0.003 < smallest < 0.007
    assert row["evidence"] == {
        "b": 5,
        "c": 3,
        "groups": None,
        "design_effect": 1.0,
        "mcnemar_p": pytest.approx(93 / 256),
        "method": "Tango 1998",
        "flip_rate": 0.01,
    }
    assert row["limit"] == {"min": None, "max": 0.01, "source": "default", "reason": None}


def test_lost_accuracy_fails_and_too_few_samples_decide_nothing():
    assert judge_accuracy(scores(2000, 80, 5), LIMIT).status is Status.FAIL
    assert judge_accuracy(scores(200), LIMIT).status is Status.INCONCLUSIVE


def test_plain_lists_do_as_well():
    m = {key: value.tolist() for key, value in scores(400).items()}
    assert judge_accuracy(m, LIMIT).status is Status.PASS


def test_groups_are_counted():
    m = {**scores(2000, 40), "groups": [index // 20 for index in range(2000)]}
    verdict = judge_accuracy(m, Limit("accuracy", max=0.03))
    assert (verdict.status, verdict.evidence["groups"]) == (Status.INCONCLUSIVE, 100)


def test_the_worst_class_is_named_with_an_interval_for_all_at_once():
    m = {**scores(2000, 10), "labels": np.repeat([3, 4, 5, 6], 500)}
    found = written(judge_accuracy(m, LIMIT))["evidence"]["worst_class"]
    low, high = (tango_bound(10, 0, 500, 1 - 0.05 / 8, upper=upper) for upper in (False, True))
    assert found == {
        "label": 3,
        "drop": 0.02,
        "n": 500,
        "lost": 10,
        "gained": 0,
        "low": pytest.approx(low),
        "high": pytest.approx(high),
        "note": None,
    }


def test_a_class_that_is_lost_altogether_shows_beside_a_drop_that_passes():
    old, new = np.ones(4000), np.ones(4000)
    labels = np.repeat(np.arange(100), 40)
    new[labels == 77] = 0
    verdict = judge_accuracy({"baseline": old, "candidate": new, "labels": labels}, LOOSE)
    worst = verdict.evidence["worst_class"]
    assert verdict.status is Status.PASS
    assert (worst["label"], worst["drop"], worst["n"]) == (77, 1.0, 40)
    assert worst["low"] > 0.5


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"labels": np.arange(2000) // 29}, "too few samples for an interval: 29 of 30"),
        ({"groups": (np.arange(2000) % 40).tolist()}, "no interval: its samples share sources"),
        ({"candidate": np.full(2000, 0.5)}, "no interval: the scores are not right or wrong"),
    ],
)
def test_a_class_without_an_honest_interval_says_why(change, note):
    m = {**scores(2000, 10), "labels": np.arange(2000) // 500, **change}
    worst = judge_accuracy(m, LIMIT).evidence["worst_class"]
    assert (worst["low"], worst["high"], worst["note"]) == (None, None, note)


def test_the_interval_of_the_worst_of_many_classes_holds():
    # Every class loses 10 %: the worst of 20 is seen to lose much more, and its interval knows.
    rng = np.random.default_rng(1)
    labels, missed = np.repeat(np.arange(20), 60), 0
    for _ in range(300):
        new = (rng.random(1200) >= 0.1).astype(float)
        found = worst_class(np.ones(1200), new, labels, None)
        missed += not found["low"] <= 0.1 <= found["high"]
    assert missed <= 25


@pytest.mark.parametrize(
    ("found", "tolerance", "agrees"),
    [
        ({"difference": 3e-6, "changed": 0}, 1e-5, True),
        ({"difference": 3e-4, "changed": 0}, 1e-5, False),
        ({"difference": 3e-4, "changed": 0}, 1e-3, True),
        ({"difference": 3e-6, "changed": 2}, 1e-5, False),
        ({"difference": 3e-6, "changed": None}, 1e-5, True),
        ({"difference": None, "changed": 0}, 1e-5, False),
        ({"difference": math.nan, "changed": 0}, 1e-5, False),
    ],
)
def test_answers_that_depend_on_the_batch_are_told(found, tolerance, agrees):
    m = {**scores(), "extra": {"batch_invariance": found}, "tolerance": tolerance}
    verdict = judge_accuracy(m, LIMIT)
    assert verdict.evidence["batch_invariance"]["agrees"] is agrees
    assert verdict.status is Status.PASS
    written(verdict)


@pytest.mark.parametrize("found", [{"note": "takes batches of 1 only"}, {"error": "boom"}])
def test_batches_that_were_not_compared_say_why(found):
    m = {**scores(), "extra": {"batch_invariance": found}}
    told = judge_accuracy(m, LIMIT).evidence["batch_invariance"]
    assert told == {"agrees": None, "note": next(iter(found.values()))}


def test_without_a_limit_the_drop_is_still_told():
    row = written(judge_accuracy(scores(2000, 80), NOTHING))
    assert (row["status"], row["reason"], row["limit"]) == (
        "NO_EXPECTATION",
        "no limit here",
        None,
    )
    assert row["value"] == pytest.approx(0.04)


@pytest.mark.parametrize("limit", [LIMIT, NOTHING])
def test_non_finite_outputs_fail_whatever_the_accuracy_says(limit):
    m = {**scores(), "nonfinite": {"count": 4, "of": 2000, "layer": "layer1.0.norm"}}
    verdict = judge_accuracy(m, limit)
    assert verdict.status is Status.FAIL
    assert verdict.reason == "non-finite outputs 4 of 2000, first in layer layer1.0.norm"
    m["nonfinite"] = {"count": 4, "of": 2000, "layer": None}
    assert judge_accuracy(m, limit).reason == "non-finite outputs 4 of 2000"
    m["nonfinite"] = {"count": 0, "of": 2000, "layer": None}
    assert judge_accuracy(m, LIMIT).status is Status.PASS


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("limit", [LIMIT, NOTHING])
def test_a_non_finite_metric_fails(value, limit):
    m = scores()
    m["candidate"][7] = value
    verdict = judge_accuracy(m, limit)
    assert (verdict.status, verdict.reason) == (Status.FAIL, "non-finite scores 1 of 2000")
    row = written(verdict)
    assert row["candidate"]["score"] is None
    assert "candidate.score" in row["reason"]


def test_a_non_finite_baseline_is_an_error_of_the_baseline():
    m = scores()
    m["baseline"][7] = math.nan
    verdict = judge_accuracy(m, LIMIT)
    assert verdict.status is Status.ERROR
    assert verdict.reason == "non-finite scores of the baseline, 1 of 2000"


@pytest.mark.parametrize(
    ("m", "status", "reason"),
    [
        ({}, Status.FAIL, "no samples"),
        ({"baseline": [], "candidate": []}, Status.FAIL, "no samples"),
        ({"baseline": [1.0], "candidate": []}, Status.FAIL, "no samples"),
        ({"baseline": [1.0], "candidate": [1.0, 1.0]}, Status.ERROR, "do not pair"),
        ({"baseline": [[1.0]], "candidate": [[1.0]]}, Status.ERROR, "do not pair"),
        ({**scores(9), "groups": [0]}, Status.ERROR, "1 group ids for 9 samples"),
    ],
)
def test_scores_that_say_nothing_never_pass(m, status, reason):
    verdict = judge_accuracy(m, LIMIT)
    assert verdict.status is status
    assert reason in verdict.reason
    written(verdict)


def test_a_suspicious_gain_fails_only_where_asked():
    m = scores(2000, 5, 80)
    assert judge_accuracy(m, LIMIT).status is Status.PASS
    verdict = judge_accuracy(m, LIMIT, suspect_gain=True)
    assert verdict.status is Status.FAIL
    assert verdict.reason == (
        "suspicious gain of 3.75 points (80 samples gained, 5 lost): the baseline may be wrong"
    )
    assert judge_accuracy(scores(2000, 5, 8), LIMIT, suspect_gain=True).status is Status.PASS


FIDELITY = Limit("fidelity", min=0.95, source="policy.toml:3")


@pytest.mark.parametrize(
    ("m", "status", "unit"),
    [
        ({"agreement": 0.95}, Status.PASS, "fraction"),
        ({"agreement": 0.9499}, Status.FAIL, "fraction"),
        ({"agreement": 0.0}, Status.FAIL, "fraction"),
        ({"cosine": 0.999}, Status.PASS, "cosine"),
        ({"cosine": -0.2}, Status.FAIL, "cosine"),
        ({"agreement": 0.99, "cosine": 0.5}, Status.PASS, "fraction"),
        ({"agreement": math.nan}, Status.FAIL, "fraction"),
        ({"cosine": math.inf}, Status.FAIL, "cosine"),
        ({"agreement": 1.0, "nonfinite": {"count": 1, "of": 9}}, Status.FAIL, "fraction"),
        ({}, Status.ERROR, "cosine"),
        ({"agreement": None, "reason": "outputs are no tensors"}, Status.ERROR, "cosine"),
    ],
)
def test_fidelity_is_agreement_or_the_lowest_cosine(m, status, unit):
    verdict = judge_fidelity(m, FIDELITY)
    assert (verdict.status, verdict.unit, verdict.better) == (status, unit, "higher")
    assert (verdict.reason is None) == (status is Status.PASS)
    written(verdict)


def test_fidelity_reasons_and_extras():
    verdict = judge_fidelity({"agreement": 0.9, "extra": {"sqnr_db": 21.0}}, FIDELITY)
    assert verdict.reason == "agreement with FP32 is 0.9000, and at least 0.95 is allowed"
    assert verdict.evidence == {"sqnr_db": 21.0}
    missing = judge_fidelity({"reason": "outputs are no tensors"}, FIDELITY)
    assert missing.reason == "outputs are no tensors"
    free = judge_fidelity({"agreement": 0.2}, NOTHING)
    assert (free.status, free.value) == (Status.NO_EXPECTATION, 0.2)


def test_scores_far_from_fp32_s_fail_where_only_numerics_were_to_change():
    doubled = {"agreement": 1.0, "extra": {"sqnr_db": 0.0}}
    verdict = judge_fidelity({**doubled, "numerics": True}, FIDELITY)
    assert verdict.status is Status.FAIL
    assert verdict.reason == (
        "the outputs differ from FP32's by 1 of their size (signal to noise 0.0 dB), and only "
        "numerics were to change"
    )
    assert judge_fidelity(doubled, FIDELITY).status is Status.PASS
    assert judge_fidelity({**doubled, "numerics": True}, NOTHING).status is Status.NO_EXPECTATION
    near = {"agreement": 1.0, "extra": {"sqnr_db": 8.0}, "numerics": True}
    assert judge_fidelity(near, FIDELITY).status is Status.PASS
