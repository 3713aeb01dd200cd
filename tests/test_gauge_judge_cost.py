"""Judging size, speed and memory."""

import json
import math

import numpy as np
import pytest

from gauge.judge import judge_memory, judge_size, judge_speed
from gauge.policy import DEFAULTS, Limit, NoExpectation
from gauge.sequential import QUICK_LOOKS
from gauge.verdict import Status

NOTHING = NoExpectation("needs avx512_fp16, which this machine does not have")


def written(verdict):
    return json.loads(json.dumps(verdict.record(), allow_nan=False))


def size(old, new, limit=DEFAULTS["size"], **extra):
    return judge_size({"baseline_bytes": old, "candidate_bytes": new, **extra}, limit)


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (1000, 250, Status.PASS),
        (1000, 1050, Status.PASS),
        (1_000_000, 1_050_000, Status.PASS),
        (1_000_000, 1_054_096, Status.PASS),
        (1_000_000, 1_054_097, Status.FAIL),
        (1000, 5146, Status.PASS),
        (1000, 5147, Status.FAIL),
        (1000, 0, Status.ERROR),
        (0, 1000, Status.ERROR),
        (None, 1000, Status.ERROR),
        (1000, None, Status.ERROR),
        (math.nan, 1000, Status.ERROR),
        (1000, math.inf, Status.ERROR),
        (1000, True, Status.ERROR),
    ],
)
def test_size_is_all_bytes_over_the_baselines(old, new, status):
    verdict = size(old, new)
    assert verdict.status is status
    assert (verdict.reason is None) == (status is Status.PASS and verdict.value is not None)
    written(verdict)


def test_sparsity_stands_beside_the_size_and_is_not_turned_into_it():
    verdict = size(2_100_000, 4_200_000, files={"w": 4_200_000}, sparsity=0.9)
    assert (verdict.status, verdict.value) == (Status.FAIL, 2.0)
    assert verdict.reason == "4.2 MB are 2.000 of 2.1 MB, and at most 1.05 is allowed"
    assert verdict.candidate == {"bytes": 4_200_000, "files": {"w": 4_200_000}, "sparsity": 0.9}


def test_size_without_a_limit_is_told():
    verdict = size(1000, 3000, NOTHING)
    assert (verdict.status, verdict.value) == (Status.NO_EXPECTATION, 3.0)


def memory(old, new, limit=DEFAULTS["memory"], gated=True, **extra):
    m = {"baseline_bytes": old, "candidate_bytes": new, **extra}
    return judge_memory(m, limit, batch=1, gated=gated)


@pytest.mark.parametrize(
    ("old", "new", "extra", "status"),
    [
        (1000, 1100, {}, Status.PASS),
        (1000, 1101, {}, Status.FAIL),
        (1000, 1101, {"resolution_bytes": 4096}, Status.INCONCLUSIVE),
        (1000, 9000, {"resolution_bytes": 4096}, Status.FAIL),
        (1000, 0, {}, Status.PASS),
        (0, 0, {}, Status.PASS),
        (0, 5, {}, Status.ERROR),
        (None, 1, {"reason": "the process died"}, Status.ERROR),
        (1, math.nan, {}, Status.ERROR),
        (None, None, {"unavailable": True, "reason": "no /proc"}, Status.NO_EXPECTATION),
    ],
)
def test_memory_is_the_peak_over_the_baselines(old, new, extra, status):
    verdict = memory(old, new, **extra)
    assert (verdict.status, verdict.batch) == (status, 1)
    unexplained = status is Status.PASS and verdict.value is not None
    assert (verdict.reason is None) == unexplained
    written(verdict)


def test_memory_that_cannot_be_had_is_not_available_and_never_zero():
    verdict = memory(None, None, unavailable=True, reason="no /proc")
    assert (verdict.value, verdict.reason) == (None, "not available: no /proc")
    assert memory(None, None, reason="the process died").reason == "the process died"


def test_a_batch_that_is_only_reported_has_a_value_and_no_limit():
    verdict = memory(1000, 9000, gated=False)
    assert (verdict.status, verdict.value, verdict.limit) == (Status.NO_EXPECTATION, 9.0, None)
    assert verdict.reason == "batch 1 is reported, not gated"


def around(ratio, count=12, sigma=0.006, seed=0):
    noise = np.random.default_rng(seed).standard_normal(count)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return (math.log(ratio) + sigma * noise).tolist()


LIMIT = Limit("speed", min=1.2, source="policy.toml:18", reason="r")
MEASURED = {"medians": {"baseline": 7e-6, "candidate": 20e-6}, "threads": 1}


def speed(first, limit=LIMIT, looks=None, **changes):
    m = {**MEASURED, "first": first, **changes}
    gated = m.pop("gated", True)
    return judge_speed(m, limit, **({"looks": looks} if looks else {}), batch=1, gated=gated)


def test_a_fast_cell_passes_with_value_interval_and_samples():
    row = written(speed(around(4.1, 2), samples={"baseline": [1.0], "candidate": [0.5]}))
    assert (row["status"], row["reason"], row["batch"]) == ("PASS", None, 1)
    assert row["value"] == pytest.approx(4.1)
    assert row["low"] < row["value"] < row["high"]
    assert row["limit"]["min"] == 1.2
    assert row["baseline"] == {"median_s": 7e-6, "samples": [1.0]}
    assert row["candidate"] == {"median_s": 20e-6, "samples": [0.5]}
    assert row["evidence"] == {
        "processes": around(4.1, 2),
        "looks": [2],
        "sigma": pytest.approx(0.006),
        "threads": 1,
    }


def test_a_slow_cell_fails_with_both_medians_and_threads():
    verdict = speed(around(0.35), confirming=around(0.36, seed=1))
    assert verdict.status is Status.FAIL
    assert verdict.reason.startswith("0.350 (")
    for part in (
        "at least 1.2 is asked",
        "baseline 7 µs, candidate 20 µs",
        "1 thread",
        "confirmed",
    ):
        assert part in verdict.reason
    assert verdict.evidence["confirming"] == around(0.36, seed=1)


@pytest.mark.parametrize(
    ("confirming", "reason"),
    [
        (around(2.0), "not reproduced"),
        (None, "no fresh run was completed"),
        ([], "no fresh run was completed"),
        (around(0.35, 2), "no fresh run was completed"),
    ],
)
def test_a_failure_that_is_not_confirmed_is_inconclusive(confirming, reason):
    verdict = speed(around(0.35), confirming=confirming)
    assert verdict.status is Status.INCONCLUSIVE
    assert reason in verdict.reason


def test_a_cell_at_its_limit_is_inconclusive_at_every_effort():
    assert "undecided after 12 processes" in speed(around(1.2)).reason
    assert "undecided after 4 processes" in speed(around(1.2, 4), looks=QUICK_LOOKS).reason


def test_an_undecided_cell_says_that_other_programs_had_its_cpu():
    def seen(*waits):
        return {"machine": [{"queued": wait} for wait in waits]}

    crowded = speed(around(1.2), extra=seen(0.01, 0.5, None, 0.06)).reason
    assert "other programs had its CPU: 2 of 3 processes waited" in crowded
    assert "for more than 5 % of the time, one for 50 %" in crowded
    assert "other programs" not in speed(around(1.2), extra=seen(0.01, None)).reason
    assert speed(around(4.1), extra=seen(0.5)).reason is None


def test_a_run_that_was_stopped_is_inconclusive():
    verdict = speed(around(1.2, 5))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason == "stopped after 5 of 12 processes, undecided"


@pytest.mark.parametrize(
    ("first", "changes", "status", "reason"),
    [
        ([], {}, Status.ERROR, "no process gave a time"),
        (None, {}, Status.ERROR, "no process gave a time"),
        (around(4.1), {"invalid": "recompiled"}, Status.ERROR, "invalid: recompiled"),
        ([0.1, math.nan], {}, Status.FAIL, "not finite in 1 processes"),
        ([0.1, None], {}, Status.FAIL, "not finite in 1 processes"),
        (around(0.3), {"confirming": [math.inf]}, Status.FAIL, "not finite in 1 processes"),
    ],
)
@pytest.mark.parametrize("limit", [LIMIT, NOTHING])
def test_what_was_not_measured_never_passes(first, changes, status, reason, limit):
    verdict = speed(first, limit, **changes)
    assert verdict.status is status
    assert reason in verdict.reason
    written(verdict)


def blocks(trend, processes=4, count=12):
    ripple = [0.002 * (index % 2) + trend * index / (count - 1) for index in range(count)]
    return [ripple] * processes


@pytest.mark.parametrize("trend", [0.05, -0.05])
@pytest.mark.parametrize(
    "changes",
    [
        {"first": around(4.1, 4)},
        {"first": around(0.35), "confirming": around(0.36, seed=1)},
        {"first": around(0.35), "confirming": around(2.0)},
        {"first": around(1.2)},
    ],
)
def test_a_cell_that_is_not_steady_is_inconclusive_whatever_it_measured(trend, changes):
    verdict = speed(**changes, blocks=blocks(trend))
    assert verdict.status is Status.INCONCLUSIVE
    slower = "candidate" if trend < 0 else "baseline"
    assert verdict.reason.startswith(f"not steady: the {slower} gets slower")
    assert "measure again; measured: " in verdict.reason
    assert verdict.evidence["steady"] is False
    assert verdict.evidence["trend"] == pytest.approx(trend, abs=0.003)
    assert abs(verdict.evidence["trend_z"]) > 2.6
    assert verdict.value is not None
    written(verdict)


@pytest.mark.parametrize("trend", [0.003, -0.003])
def test_a_harmless_trend_changes_nothing(trend):
    verdict = speed(around(4.1, 4), blocks=blocks(trend))
    assert (verdict.status, verdict.evidence["steady"]) == (Status.PASS, True)


def test_what_is_not_gated_is_not_held_to_be_steady():
    verdict = speed(around(4.1, 4), gated=False, blocks=blocks(-0.05))
    assert (verdict.status, verdict.evidence["steady"]) == (Status.NO_EXPECTATION, False)


def test_a_shared_gpu_is_inconclusive():
    devices = [{"other_processes": 0}, {"other_processes": 1}, None, {"unavailable": "no NVML"}]
    verdict = speed(around(4.1, 4), devices=devices)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason.startswith("another process uses the GPU; measured: 4.")
    assert speed(around(4.1, 4), devices=[*devices[:1], *devices[2:]]).status is Status.PASS


def test_latency_and_energy_are_told_by_arm_or_with_the_reason():
    singles = {"baseline": [1e-3] * 400, "candidate": [5e-4] * 100}
    energy = {"baseline": None, "candidate": None, "source": None, "reason": "no counter"}
    row = written(speed(around(4.1, 4), latency=singles, energy=energy, outliers={"baseline": 2}))
    assert row["baseline"]["latency"]["p99"] == {"value": 1e-3, "high": 1e-3, "reason": None}
    assert row["candidate"]["latency"]["p99"]["reason"] == "needs n ≥ 299, has 100"
    assert row["candidate"]["joules"] is None
    assert row["evidence"]["energy"] == {"source": None, "reason": "no counter"}
    assert row["evidence"]["outliers"] == {"baseline": 2}


def test_no_expectation_still_tells_the_ratio():
    verdict = speed(around(0.03, 4), NOTHING)
    assert (verdict.status, verdict.reason) == (Status.NO_EXPECTATION, NOTHING.reason)
    assert verdict.low < verdict.value < verdict.high
    assert verdict.limit is None


def test_a_reported_batch_tells_the_ratio_without_a_limit():
    verdict = speed(around(0.03, 4), gated=False)
    assert (verdict.status, verdict.limit) == (Status.NO_EXPECTATION, None)
    assert verdict.reason == "batch 1 is reported, not gated"
    assert written(speed(around(0.03, 4)[:1], gated=False))["low"] is None


def test_two_processes_far_apart_are_written_without_infinity():
    row = written(speed([300.0, -300.0]))
    assert (row["status"], row["high"]) == ("INCONCLUSIVE", None)
    assert "not finite, so null: high (inf)" in row["reason"]
