"""Statuses, their order, and verdicts as strict JSON."""

import json
import math

import numpy as np
import pytest

from gauge.verdict import (
    ALWAYS_GATES,
    BATCH_GATES,
    GATES,
    SCALES,
    TRAINING_GATES,
    Status,
    Verdict,
    deployment_of,
    severity,
    worst,
)


def test_gates_are_in_the_order_they_are_asked():
    asked = ("evidence", "reload", "accuracy", "fidelity", "size", "speed", "memory")
    loaded = tuple(gate for gate in GATES if deployment_of(gate))
    assert (*asked, *TRAINING_GATES, *loaded, "regression") == GATES
    assert asked == ALWAYS_GATES
    assert (
        tuple(f"training_{one}" for one in "steps accuracy memory speed".split()) == TRAINING_GATES
    )
    assert deployment_of("realtime_rate") == "realtime"
    assert deployment_of("cloud_cost") == "cloud"
    assert set(BATCH_GATES) < set(GATES)
    assert set(SCALES) == set(GATES)


def test_every_status_has_a_place():
    assert sorted(Status, key=severity)[-2:] == [Status.FAIL, Status.ERROR]
    assert len({severity(status) for status in Status}) == len(Status)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["PASS", "NO_EXPECTATION"], Status.PASS),
        (["NO_EXPECTATION"], Status.NO_EXPECTATION),
        (["PASS", "WAIVED"], Status.WAIVED),
        (["INCONCLUSIVE", "NO_BASELINE", "PASS"], Status.INCONCLUSIVE),
        (["PASS", "FAIL", "INCONCLUSIVE"], Status.FAIL),
        (["FAIL", "ERROR"], Status.ERROR),
    ],
)
def test_a_cell_is_its_worst_gate(statuses, expected):
    assert worst(statuses) is expected


def test_nothing_judged_is_no_success():
    with pytest.raises(ValueError, match="nothing was judged"):
        worst([])


def test_a_status_is_written_as_its_name():
    assert json.dumps({"status": Status.NO_EXPECTATION}) == '{"status": "NO_EXPECTATION"}'
    assert f"{Status.PASS}" == "PASS"


def record(**parts):
    row = Verdict("speed", Status.PASS, **parts).record()
    return json.loads(json.dumps(row, allow_nan=False))


def test_a_finite_verdict_is_recorded_as_it_is():
    row = record(value=4.1, unit="ratio", better="higher", low=4.0, high=4.2, batch=1)
    assert row == {
        "gate": "speed",
        "status": "PASS",
        "batch": 1,
        "value": 4.1,
        "unit": "ratio",
        "better": "higher",
        "low": 4.0,
        "high": 4.2,
        "limit": None,
        "baseline": {},
        "candidate": {},
        "evidence": {},
        "reason": None,
    }


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_number_that_is_not_finite_is_null_and_named(number):
    row = record(value=number, evidence={"claims": [{"error": number}]}, reason="slow")
    assert row["value"] is None
    assert row["evidence"] == {"claims": [{"error": None}]}
    assert row["reason"].startswith("slow; not finite, so null: value (")
    assert "evidence.claims[0].error" in row["reason"]


def test_many_lost_numbers_are_counted_not_listed():
    row = record(evidence={"samples": [math.nan] * 200})
    assert row["evidence"]["samples"] == [None] * 200
    assert row["reason"].endswith("and 197 more")


def test_numpy_tuples_and_odd_keys_become_plain():
    row = record(evidence={3: np.int64(4), "a": np.arange(2), "b": (np.True_, Status.FAIL)})
    assert row["evidence"] == {"3": 4, "a": [0, 1], "b": [True, "FAIL"]}


def test_what_no_record_can_hold_is_an_error():
    with pytest.raises(TypeError, match=r"evidence\.path holds a object"):
        record(evidence={"path": object()})
