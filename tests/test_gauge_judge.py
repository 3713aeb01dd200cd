"""From measurements to verdicts: evidence, reload, waivers, and cells that were never measured."""

import datetime
import json
import math
import subprocess
import sys

import pytest

from gauge import judge
from gauge.policy_entry import Match, Waiver
from gauge.verdict import GATES, Status, Verdict


def written(verdict):
    """The verdict's record, after a trip through strict JSON."""
    return json.loads(json.dumps(verdict.record(), allow_nan=False))


CLAIM = {"found": True, "text": "12 of 20 layers, 50.0 % zeros", "numbers": {"layers": 12}}
LOST = {"found": False, "text": "0 of 2 layers converted", "numbers": {"layers": 0}}


def test_every_claim_found_passes():
    verdict = judge.judge_evidence({"zeros": CLAIM}, {"kernels": ["gemm"]})
    assert (verdict.status, verdict.value, verdict.reason) == (Status.PASS, 1.0, None)
    row = written(verdict)
    assert row["evidence"] == {"claims": {"zeros": CLAIM}, "kernels": ["gemm"]}
    assert (row["unit"], row["better"]) == ("claims", "higher")


def test_a_technique_that_changed_nothing_fails_however_good_its_score():
    verdict = judge.judge_evidence({"zeros": CLAIM, "integer_kernels": LOST})
    assert (verdict.status, verdict.value) == (Status.FAIL, 0.5)
    assert verdict.reason == "integer_kernels not found: 0 of 2 layers converted"


def test_no_claim_is_a_failure():
    verdict = judge.judge_evidence({})
    assert (verdict.status, verdict.value) == (Status.FAIL, 0.0)
    assert verdict.reason == "no claim: the technique states nothing that can be checked"


@pytest.mark.parametrize("finding", [{}, {"found": None}, {"found": 0, "text": ""}])
def test_a_finding_that_does_not_say_found_is_not_found(finding):
    verdict = judge.judge_evidence({"half": finding})
    assert (verdict.status, verdict.reason) == (
        Status.FAIL,
        "half not found: nothing was counted",
    )


RELOADED = {
    "batches": {"1": 1e-7, "3": 0.0},
    "errors": {},
    "batch": None,
    "tolerance": 1e-5,
    "tolerance_reason": None,
    "loader": "optimizers.artifact:load",
}


def reload(**changes):
    return judge.judge_reload({**RELOADED, **changes})


def test_the_same_answers_after_reload_pass():
    row = written(reload())
    assert (row["status"], row["value"], row["reason"]) == ("PASS", 1e-7, None)
    assert row["limit"] == {"min": None, "max": 1e-5, "source": "default", "reason": None}
    assert row["evidence"] == {
        "batches": {"1": 1e-7, "3": 0.0},
        "batch": None,
        "loader": "optimizers.artifact:load",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batches": {"1": 1e-7, "3": 2e-5}}, "answers differently at batch 3: by 2e-05"),
        ({"batches": {"1": math.nan}}, "the difference at batch 1 is not finite"),
        ({"batches": {"1": math.inf}}, "the difference at batch 1 is not finite"),
        ({"batches": {"1": None}}, "the outputs at batch 1 could not be compared"),
        ({"batches": {}}, "no output was compared"),
        ({"batches": None}, "no output was compared"),
        (
            {"batches": {"1": 0.0}, "errors": {"3": "Reshape failed"}},
            "fails at batch 3, and the artifact declares no fixed batch: Reshape failed",
        ),
        (
            {"batches": {"1": 0.0, "3": None}, "errors": {"3": "Reshape failed"}},
            "fails at batch 3, and the artifact declares no fixed batch: Reshape failed",
        ),
        ({"batches": {}, "errors": {"1": "no file"}}, "fails at batch 1: no file"),
        (
            {"batch": 3, "batches": {"1": 0.0}, "errors": {"3": "boom"}},
            "fails at batch 3: boom",
        ),
        (
            {"batch": 8, "batches": {"1": 0.0}},
            "declares the fixed batch 8, and nothing was compared there",
        ),
        ({"tolerance": math.nan}, "a reload tolerance of nan, which is no limit"),
        ({"tolerance": math.inf}, "a reload tolerance of inf, which is no limit"),
        ({"tolerance": -1.0}, "a reload tolerance of -1.0, which is no limit"),
        ({"tolerance": None}, "a reload tolerance of None, which is no limit"),
        ({"tolerance": 1e-3}, "a reload tolerance of 0.001 and no reason for it"),
        ({"tolerance": 1e-3, "tolerance_reason": " "}, "and no reason for it"),
    ],
)
def test_what_does_not_reload_fails_and_says_why(changes, reason):
    verdict = reload(**changes)
    assert verdict.status is Status.FAIL
    assert reason in verdict.reason
    written(verdict)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"habits": ["stateful: two identical calls differ by 0.1"]},
            "the reloaded artifact: stateful: two identical calls differ by 0.1",
        ),
        (
            {"foreign": {"/tmp/a.bin": 4, "/tmp/b.bin": 70}},
            "the artifact needs what it does not hold: it reads /tmp/b.bin (70 bytes) and 1 more, "
            "which does not ship with it",
        ),
        (
            {"rows": {"of": 32, "apart": {"1": 0.4}, "allowed": 0.001}},
            "the same rows are answered differently at batch 1 than at batch 32: by 0.4 of the "
            "largest output, and 0.001 is allowed",
        ),
        (
            {"rows": {"of": 32, "apart": {"1": None}, "allowed": 0.001}},
            "the same rows are answered differently at batch 1 than at batch 32: beyond comparing, "
            "and 0.001 is allowed",
        ),
    ],
)
def test_an_artifact_that_answers_alike_and_cannot_be_relied_on_fails(changes, reason):
    verdict = reload(**changes)
    assert (verdict.status, verdict.reason) == (Status.FAIL, reason)
    written(verdict)


def test_rows_within_what_is_allowed_and_no_habits_pass():
    rows = {"of": 32, "apart": {"1": 0.001, "3": 0.0}, "allowed": 0.001}
    verdict = reload(habits=[], foreign={}, rows=rows)
    assert verdict.status is Status.PASS
    assert verdict.evidence["rows"] == rows


def test_a_declared_fixed_batch_explains_the_sizes_that_fail():
    verdict = reload(batch=1, batches={"1": 0.0}, errors={"3": "shape mismatch"})
    assert verdict.status is Status.PASS
    assert verdict.evidence["errors"] == {"3": "shape mismatch"}
    assert reload(batch=1, batches={"1": 0.0, "3": None}, errors={"3": "x"}).status is Status.PASS


def test_a_tolerance_with_a_reason_is_the_limit():
    verdict = reload(batches={"1": 5e-4}, tolerance=1e-3, tolerance_reason="other fused kernels")
    assert verdict.status is Status.PASS
    assert verdict.limit == {
        "min": None,
        "max": 1e-3,
        "source": "technique",
        "reason": "other fused kernels",
    }
    assert reload(batches={"1": 2e-3}, tolerance=1e-3, tolerance_reason="x").status is Status.FAIL


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (judge.refused, Status.REFUSED),
        (judge.errored, Status.ERROR),
        (judge.no_baseline, Status.NO_BASELINE),
    ],
)
def test_a_cell_that_was_not_measured_has_a_line_for_each_gate(make, status):
    rows = [written(make(gate, "int8 kernels are CPU only", batch=1)) for gate in GATES]
    assert {row["status"] for row in rows} == {status}
    assert {row["reason"] for row in rows} == {"int8 kernels are CPU only"}
    assert {row["value"] for row in rows} == {None}


DAY = datetime.date(2027, 1, 31)
BROKEN = Verdict("size", Status.FAIL, value=1.2, reason="too large")


def waiver(gate="size", floor=1.3, expires=DAY):
    return Waiver(
        gate, Match(), "policy.toml:9", "known", (), "#7", "release", expires=expires, floor=floor
    )


def test_a_waived_failure_says_by_whom_until_when_and_why():
    verdict = judge.apply_waiver(BROKEN, waiver(), DAY)
    assert verdict.status is Status.WAIVED
    assert verdict.reason == "waived until 2027-01-31 (policy.toml:9, #7): known; too large"
    assert verdict.evidence["waiver"] == {
        "source": "policy.toml:9",
        "issue": "#7",
        "owner": "release",
        "expires": "2027-01-31",
    }
    written(verdict)


def test_an_expired_waiver_waives_nothing():
    verdict = judge.apply_waiver(BROKEN, waiver(), DAY + datetime.timedelta(days=1))
    assert verdict.status is Status.FAIL
    assert verdict.reason == "too large; its waiver (policy.toml:9) expired on 2027-01-31"
    assert verdict.evidence["waiver"]["expired"] is True


def test_where_it_may_come_late_an_expired_waiver_waives_and_says_so():
    after = DAY + datetime.timedelta(days=1)
    verdict = judge.apply_waiver(BROKEN, waiver(), after, late=True)
    assert verdict.status is Status.WAIVED
    assert verdict.reason.startswith("waived though only until 2027-01-31 (policy.toml:9, #7)")
    assert verdict.evidence["waiver"]["expired"] is True
    floor = judge.apply_waiver(BROKEN, waiver(floor=1.1), after, late=True)
    assert floor.status is Status.FAIL


@pytest.mark.parametrize(
    ("gate", "low", "high", "floor", "evidence", "waived"),
    [
        ("speed", 0.91, 1.2, 0.9, {}, True),
        ("speed", 0.89, 1.2, 0.9, {}, False),
        ("speed", None, None, 0.9, {}, False),
        ("speed", math.nan, 1.2, 0.9, {}, False),
        ("speed", 0.91, 1.2, 0.9, {"unreliable": "not steady"}, False),
        ("accuracy", -0.01, 0.02, 0.02, {}, True),
        ("accuracy", -0.01, 0.03, 0.02, {}, False),
        ("evidence", None, None, None, {}, False),
    ],
)
def test_what_is_undecided_is_waived_where_it_keeps_the_floor_for_certain(
    gate, low, high, floor, evidence, waived
):
    undecided = Verdict(
        gate, Status.INCONCLUSIVE, value=1.0, low=low, high=high, evidence=evidence, reason="r"
    )
    verdict = judge.apply_waiver(undecided, waiver(gate, floor), DAY)
    assert verdict.status is (Status.WAIVED if waived else Status.INCONCLUSIVE)
    if not waived:
        assert verdict == undecided


@pytest.mark.parametrize(
    ("gate", "value", "floor", "kept"),
    [
        ("size", 1.3, 1.3, True),
        ("size", 1.31, 1.3, False),
        ("size", math.nan, 1.3, False),
        ("size", None, 1.3, False),
        ("speed", 0.8, 0.8, True),
        ("speed", 0.79, 0.8, False),
        ("speed", math.nan, 0.8, False),
        ("accuracy", 0.021, 0.02, False),
        ("fidelity", 0.95, 0.9, True),
        ("evidence", 0.5, None, True),
    ],
)
def test_a_waived_failure_keeps_its_floor(gate, value, floor, kept):
    broken = Verdict(gate, Status.FAIL, value=value, reason="r")
    verdict = judge.apply_waiver(broken, waiver(gate, floor), DAY)
    assert verdict.status is (Status.WAIVED if kept else Status.FAIL)
    assert kept or f"the floor of its waiver (policy.toml:9): {floor:g}" in verdict.reason


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.FAIL, Status.PASS)])
def test_nothing_else_is_waived_without_an_interval(status):
    verdict = Verdict("size", status, value=1.0, reason="r")
    assert judge.apply_waiver(verdict, waiver(), DAY) == verdict
    assert judge.apply_waiver(BROKEN, None, DAY) == BROKEN


def test_a_waiver_that_is_no_longer_needed_is_named():
    verdict = judge.apply_waiver(Verdict("size", Status.PASS, value=0.5), waiver(), DAY)
    assert verdict.status is Status.PASS
    assert verdict.evidence["waiver"]["unneeded"] is True


def test_judging_needs_no_heavy_package_until_it_computes():
    code = (
        "import sys, gauge.judge, gauge.policy, gauge.sequential, gauge.paired;"
        "print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
