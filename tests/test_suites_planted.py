"""Planted faults: each gets a verdict that is not PASS and whose reason names the cause.

One run of the suites holds them all, since what is tested is also that the others complete.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from running import PLUGINS, Ran, suites

TECHNIQUES = (
    "harmless untouched silent unknown_claim segfaults hangs eats raises leaves refuses "
    "returns_module nan_weights overflows scaled drifts carries_code fixed_batch forgets_mask tires"
).split()


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that code hidden in a pickle would make, were it executed."""
    return tmp_path_factory.mktemp("proof") / "executed"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, proof: Path) -> Ran:
    folder = tmp_path_factory.mktemp("planted")
    words = [word for name in TECHNIQUES for word in ("--technique", name)]
    return suites(
        folder / "out",
        folder / "cache",
        f"--plugin={PLUGINS / 'planted.py'}",
        "--model=digits_mlp",
        "--batch=1",
        "--effort=quick",
        "--cell-timeout=12",
        "--cell-memory=2",
        *words,
        environment={"PLANTED_PROOF": str(proof)},
    )


def test_the_run_completes_and_fails(ran):
    assert ran.code == 1, ran.output
    assert ran.run["complete"] is True
    assert (ran.report / "index.html").is_file()
    assert (ran.report / "summary.md").is_file()


def test_a_cell_without_a_fault_passes_its_gates(ran):
    verdicts = ran.verdicts("digits_mlp-harmless-cpu")
    for gate in ("evidence", "reload", "accuracy", "fidelity", "size"):
        assert verdicts[gate]["status"] == "PASS", verdicts[gate]


@pytest.mark.parametrize(
    ("technique", "gate", "status", "said"),
    [
        ("untouched", "evidence", "FAIL", "fewer_parameters not found"),
        ("silent", "evidence", "FAIL", "no claim"),
        ("unknown_claim", "evidence", "FAIL", "made_of_gold"),
        ("segfaults", "evidence", "ERROR", "apply: the worker was killed by SIGSEGV"),
        ("hangs", "evidence", "ERROR", "apply: ran past the limit of 12 s (--cell-timeout)"),
        ("eats", "evidence", "ERROR", "more than the limit of 2.0 GiB (--cell-memory)"),
        ("raises", "evidence", "ERROR", "ZeroDivisionError: nothing left of layer 0.weight"),
        ("leaves", "evidence", "ERROR", "exit code 3"),
        ("refuses", "evidence", "REFUSED", "needs a <b>kernel</b> that is not there"),
        ("returns_module", "evidence", "ERROR", "Sequential"),
        ("nan_weights", "accuracy", "FAIL", "non-finite outputs"),
        ("nan_weights", "fidelity", "FAIL", "non-finite outputs"),
        ("overflows", "accuracy", "FAIL", "non-finite outputs"),
        ("scaled", "accuracy", "FAIL", "drop of"),
        ("scaled", "evidence", "FAIL", "unchanged not found"),
        ("drifts", "reload", "FAIL", "answers differently"),
        ("carries_code", "evidence", "ERROR", "weights.pt"),
        ("fixed_batch:false", "reload", "FAIL", "fails at batch 3"),
        ("forgets_mask", "evidence", "ERROR", "pruning not finalised"),
        ("tires", "speed-b1", "INCONCLUSIVE", "not steady: the candidate gets slower"),
    ],
)
def test_a_fault_is_named(ran, technique, gate, status, said):
    record = ran.verdicts(f"digits_mlp-{technique}-cpu")[gate]
    assert record["status"] == status, record["reason"]
    assert said in record["reason"]


def test_what_was_timed_is_told_in_full(ran):
    record = ran.verdicts("digits_mlp-harmless-cpu")["speed-b1"]
    evidence = record["evidence"]
    assert evidence["steady"] is True, record
    assert evidence["threads"] == ran.run["machine"]["threads"]
    assert evidence["cpus"]
    assert evidence["cache"] == {"mode": "warm"}
    assert evidence["energy"]["source"] or evidence["energy"]["reason"]
    orders = evidence["candidate_first"]
    assert abs(2 * sum(orders) - len(orders)) == len(orders) % 2
    for seen in evidence["machine"]:
        assert {"steal", "load", "involuntary_switches", "others", "queued"} <= set(seen)
    for arm in ("baseline", "candidate"):
        latency = record[arm]["latency"]
        for name in ("p50", "p90", "p99"):
            assert latency[name]["reason"] or latency[name]["value"] <= latency[name]["high"]
        assert latency["n"] > 0


def test_the_first_layer_with_nan_is_named(ran):
    reason = ran.verdicts("digits_mlp-nan_weights-cpu")["accuracy"]["reason"]
    assert "layer 2" in reason


def test_a_declared_batch_size_is_respected(ran):
    verdicts = ran.verdicts("digits_mlp-fixed_batch-cpu")
    assert verdicts["reload"]["status"] == "PASS"
    assert verdicts["accuracy"]["status"] == "PASS"


def test_another_batch_size_than_the_declared_one_is_refused_and_not_an_error(tmp_path, ran):
    again = suites(
        tmp_path / "out",
        ran.report.parent / "cache",
        f"--plugin={PLUGINS / 'planted.py'}",
        *("--model=digits_mlp", "--technique=fixed_batch:true", "--batch=32", "--effort=quick"),
        *("-k", "memory or speed"),
    )
    found = again.verdicts("digits_mlp-fixed_batch-cpu")
    for gate in ("memory-b32", "speed-b32"):
        assert found[gate]["status"] == "REFUSED"
        assert found[gate]["reason"] == "the artifact accepts batch 1 only"


def test_code_in_a_pickle_is_never_executed(ran, proof):
    assert ran.verdicts("digits_mlp-carries_code-cpu")
    assert not proof.exists()


def test_every_gate_of_every_cell_has_one_line(ran):
    gates = {"evidence", "reload", "accuracy", "fidelity", "size", "speed-b1", "memory-b1"}
    for name in TECHNIQUES:
        variants = ["fixed_batch", "fixed_batch:false"] if name == "fixed_batch" else [name]
        for variant in variants:
            assert set(ran.verdicts(f"digits_mlp-{variant}-cpu")) == gates


def test_a_crashed_cell_says_the_same_at_every_gate(ran):
    verdicts = ran.verdicts("digits_mlp-segfaults-cpu").values()
    assert {(one["status"], one["reason"]) for one in verdicts} == {
        ("ERROR", "apply: the worker was killed by SIGSEGV")
    }


def test_reasons_are_escaped_in_the_page(ran):
    page = (ran.report / "index.html").read_text()
    assert "needs a <b>kernel</b>" not in page
    assert "needs a &lt;b&gt;kernel&lt;/b&gt;" in page


def test_the_terminal_tells_failures_and_how_to_repeat_one(ran):
    assert "worst first" in ran.output
    assert "repeat one: pytest suites/" in ran.output
    assert "report: " in ran.output


def test_real_extra_work_fails_the_speed_gate_twice(tmp_path):
    ran = suites(
        tmp_path / "out",
        tmp_path / "cache",
        f"--plugin={PLUGINS / 'planted.py'}",
        "--model=digits_mlp",
        "--technique=slow",
        "--batch=1",
        "-k",
        "speed",
    )
    record = ran.verdicts("digits_mlp-slow-cpu")["speed-b1"]
    assert record["status"] == "FAIL", record["reason"]
    assert "at least 1 is asked" in record["reason"]
    assert "confirmed by a fresh run" in record["reason"]
    assert record["baseline"]["median_s"] < record["candidate"]["median_s"]
    assert ran.code == 1


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("odd")
    models = ("random_model", "stateful_model", "infinite_model", "editing_model")
    words = [word for name in models for word in ("--model", name)]
    return suites(
        folder / "out",
        folder / "cache",
        f"--plugin={PLUGINS / 'planted.py'}",
        "--technique=harmless",
        *words,
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("random_model", "not deterministic: two identical calls differ"),
        ("stateful_model", "stateful: two identical calls differ"),
        ("infinite_model", "not finite:"),
        ("editing_model", "changes its input"),
    ],
)
def test_a_baseline_that_cannot_be_compared_is_an_error_on_its_cells(odd, model, said):
    verdicts = odd.verdicts(f"{model}-harmless-cpu")
    assert {one["status"] for one in verdicts.values()} == {"ERROR"}
    assert all(said in one["reason"] for one in verdicts.values())


def test_a_run_in_which_everything_crashed_is_not_green(odd):
    assert odd.code == 1
