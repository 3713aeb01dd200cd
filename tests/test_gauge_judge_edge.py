"""Numbers in plain units against their limits, with an interval or without."""

from __future__ import annotations

import math

import pytest

from gauge.judge_edge import judge_edge, spoken
from gauge.policy_entry import Limit, NoExpectation
from gauge.verdict import GATES, Status, deployment_of

FITS = Limit("edge_artifact", max=5e6, source="policy.toml:3")
FAST = Limit("edge_cold_start", max=0.2, source="policy.toml:4")
NEAR = Limit("edge_roofline", min=0.3)
NONE = NoExpectation("the policy has no edge_artifact limit for this cell")


def test_without_a_limit_the_number_is_told():
    found = judge_edge("edge_artifact", {"value": 46.8e6, "baseline": 93.6e6}, NONE)
    assert found.status is Status.NO_EXPECTATION
    assert found.reason == f"46.8 MB, FP32 93.6 MB; {NONE.reason}"
    assert (found.value, found.unit, found.better) == (46.8e6, "bytes", "lower")


@pytest.mark.parametrize(
    ("value", "status"), [(4.9e6, Status.PASS), (5e6, Status.PASS), (5.1e6, Status.FAIL)]
)
def test_bytes_against_their_limit(value, status):
    assert judge_edge("edge_artifact", {"value": value}, FITS).status is status


def test_a_failure_says_both_numbers():
    found = judge_edge("edge_artifact", {"value": 7.25e6, "baseline": None}, FITS)
    assert found.reason == "7.25 MB, and at most 5 MB is asked"
    assert found.limit["source"] == "policy.toml:3"


@pytest.mark.parametrize(
    ("value", "low", "high", "status"),
    [
        (0.15, 0.14, 0.19, Status.PASS),
        (0.15, 0.14, 0.21, Status.INCONCLUSIVE),
        (0.25, 0.19, 0.30, Status.INCONCLUSIVE),
        (0.25, 0.21, 0.30, Status.FAIL),
    ],
)
def test_the_whole_interval_must_lie_on_one_side(value, low, high, status):
    measured = {"value": value, "low": low, "high": high}
    found = judge_edge("edge_cold_start", measured, FAST)
    assert found.status is status
    if status is Status.INCONCLUSIVE:
        assert "--effort thorough" in found.reason


@pytest.mark.parametrize(("value", "status"), [(0.31, Status.PASS), (0.29, Status.FAIL)])
def test_a_share_of_the_roof_is_asked_at_least(value, status):
    assert judge_edge("edge_roofline", {"value": value}, NEAR).status is status


@pytest.mark.parametrize("limit", [FITS, NONE])
def test_what_cannot_be_had_is_told_with_the_reason(limit):
    found = judge_edge("edge_energy", {"value": None, "reason": "no RAPL counter"}, limit)
    assert (found.status, found.value) == (Status.NO_EXPECTATION, None)
    assert found.reason == "not available: no RAPL counter"


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("limit", [FITS, NONE])
def test_a_number_that_is_none_passes_no_limit(value, limit):
    assert judge_edge("edge_artifact", {"value": value}, limit).status is Status.FAIL


def test_a_wrong_answer_fails_however_fast_it_came():
    measured = {"value": 0.01, "low": 0.01, "high": 0.01, "wrong": "the first answer differs"}
    found = judge_edge("edge_cold_start", measured, NoExpectation("no limit"))
    assert (found.status, found.reason) == (Status.FAIL, "the first answer differs")


@pytest.mark.parametrize(
    ("gate", "value", "text"),
    [
        ("edge_artifact", 999.0, "999 bytes"),
        ("edge_installed", 3.15e9, "3.15 GB"),
        ("edge_cold_start", 0.0941, "94.1 ms"),
        ("edge_energy", 0.0, "0 µJ"),
        ("edge_macs", 1.82e9, "1.82 G"),
        ("edge_parameters", 12, "12"),
        ("edge_roofline", 0.0435, "4.35 % of what the machine can do"),
    ],
)
def test_numbers_are_spoken_in_the_unit_that_suits_them(gate, value, text):
    assert spoken(gate, value) == text


def test_every_edge_gate_has_a_unit_that_can_be_spoken():
    for gate in GATES:
        if deployment_of(gate) == "edge":
            assert spoken(gate, 1.0)
