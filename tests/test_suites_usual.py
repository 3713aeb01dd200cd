"""Limits that sit too near a cell's usual speed, limits that name a batch size, idle waivers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import Ran, suites

from gauge.clearance import clearance, too_near
from suites.usual import FILE, Usual

CELL = "digits_mlp-onnxruntime-cpu"
ASKED = ("--model=digits_mlp", "--technique=onnxruntime", "--effort=quick")


def record(value: float | None, sigma: float | None = 0.01) -> dict:
    return {
        "id": CELL,
        "gate": "speed",
        "batch": 1,
        "value": value,
        "limit": {"min": 1.2},
        "evidence": {"sigma": sigma},
    }


def test_the_usual_value_is_the_median_of_the_last_runs(tmp_path):
    usual = Usual(tmp_path / FILE)
    for value in (9.0, 1.1, 1.2, 1.3, 1.4, 1.5):
        usual.add(record(value))
    usual.save()
    assert Usual(tmp_path / FILE).of(CELL, 1) == (1.3, 0.01)


@pytest.mark.parametrize(
    "kept",
    [
        record(None),
        record(1.3, None),
        {**record(1.3), "limit": None},
        {**record(1.3), "gate": "size"},
        {**record(1.3), "evidence": {"sigma": 0.01, "steady": False}},
    ],
)
def test_a_verdict_without_a_decided_speed_is_not_the_usual(tmp_path, kept):
    usual = Usual(tmp_path / FILE)
    usual.add(kept)
    assert usual.of(CELL, 1) is None


def test_a_training_step_has_a_usual_value(tmp_path):
    usual = Usual(tmp_path / FILE)
    usual.add({**record(1.6), "gate": "training_speed", "batch": None})
    assert usual.of(CELL, None) == (1.6, 0.01)
    assert usual.of(CELL, 1) is None


def test_cold_caches_have_a_usual_value_of_their_own(tmp_path):
    usual = Usual(tmp_path / FILE)
    usual.add(record(1.3))
    usual.add({**record(1.1), "evidence": {"sigma": 0.02, "cache": {"mode": "cold"}}})
    assert usual.of(CELL, 1) == (1.3, 0.01)
    assert usual.of(CELL, 1, "cold") == (1.1, 0.02)


@pytest.mark.parametrize(
    "text", ["{", "[]", f'{{"{CELL}-b1": [[NaN, 0.1], ["1", 2], [0, 0.1], 3]}}', '{"a": 1}']
)
def test_a_damaged_file_counts_as_none(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert Usual(tmp_path / FILE).of(CELL, 1) is None


@given(st.floats(0.05, 50), st.floats(0, 0.5))
def test_what_is_advised_is_no_longer_too_near(value, sigma):
    advised = value / clearance(sigma)
    assert not too_near(advised * (1 - 1e-9), value, sigma)
    assert too_near(advised * (1 + 1e-9), value, sigma)
    assert math.isfinite(advised)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run(tmp_path: Path, cache: Path, policy: str, *words: str) -> Ran:
    file = tmp_path / "policy.toml"
    file.write_text(policy)
    return suites(tmp_path / "out", cache, "--policy", str(file), *ASKED, *words)


NEAR = '[[limit]]\ngate = "speed"\nmin = 1.99\nreason = "r"\n'


@pytest.mark.parametrize("usually", [2.0, 2.04])
def test_a_near_limit_is_listed_by_the_plan_and_refused_by_a_release(tmp_path, cache, usually):
    (cache / FILE).write_text(json.dumps({f"{CELL}-b1": [[usually, 0.01]]}))
    planned = run(tmp_path, cache, NEAR, "--plan")
    told = f"policy.toml:1: speed >= 1.99 is too near to decide: {CELL} at batch 1"
    assert planned.code == 0
    assert told in planned.output
    released = run(tmp_path, cache, NEAR, "--gate=release")
    assert released.code == 4
    assert told in released.output
    assert f"keep at most {usually / math.exp(-math.log1p(-0.03)):.3g}" in released.output


def test_a_near_limit_of_training_steps_is_listed_as_any(tmp_path, cache):
    (cache / FILE).write_text(json.dumps({"digits_mlp-amp_bf16-cpu": [[2.0, 0.01]]}))
    near = NEAR.replace('"speed"', '"training_speed"')
    planned = run(tmp_path, cache, near, "--plan", "--technique=amp_bf16")
    told = "training_speed >= 1.99 is too near to decide: digits_mlp-amp_bf16-cpu usually reaches 2"
    assert told in planned.output
    said = near + 'near = "it must gain this much"\n'
    assert "too near" not in run(tmp_path, cache, said, "--plan", "--technique=amp_bf16").output


def test_a_release_asks_for_samples_enough_to_decide_its_accuracy_limit(tmp_path, cache):
    (cache / FILE).unlink(missing_ok=True)
    tight = '[[limit]]\ngate = "accuracy"\nmax = 0.001\nreason = "r"\n'
    released = run(tmp_path, cache, tight, "--gate=release")
    assert released.code == 4
    assert "digits_mlp: 1000 evaluation samples cannot decide accuracy <= 0.001" in released.output
    assert "(policy.toml:1); it takes at least 2995 samples" in released.output
    assert run(tmp_path, cache, tight, "--gate=release", "-k", "size").code == 0


def test_a_reason_or_a_usual_value_on_the_other_side_lets_a_release_run(tmp_path, cache):
    (cache / FILE).write_text(json.dumps({f"{CELL}-b1": [[2.0, 0.01]]}))
    said = NEAR + 'near = "the product needs exactly this"\n'
    assert run(tmp_path, cache, said, "--gate=release", "-k", "size").code == 0
    assert "too near" not in run(tmp_path, cache, said, "--plan").output
    (cache / FILE).write_text(json.dumps({f"{CELL}-b1": [[1.5, 0.01]]}))
    assert "too near" not in run(tmp_path, cache, NEAR, "--plan").output


def test_a_run_remembers_its_speeds_and_gates_the_batch_that_a_limit_names(tmp_path, cache):
    (cache / FILE).unlink(missing_ok=True)
    named = '[[limit]]\ngate = "speed"\nbatch = 32\nmin = 1e-3\nreason = "r"\n'
    ran = run(tmp_path, cache, named, "-k", "speed")
    assert ran.verdicts(CELL)["speed-b32"]["status"] == "PASS", ran.output
    assert ran.verdicts(CELL)["speed-b32"]["limit"]["source"] == "policy.toml:1"
    assert Usual(cache / FILE).of(CELL, 32) is not None


WAIVERS = """
[[waiver]]
gate = "size"
model = "digits_mlp"
technique = "onnxruntime"
target = "cpu"
reason = "r"
issue = 1
owner = "release"
expires = 2027-01-31
floor = 1.5

[[waiver]]
gate = "speed"
model = "digits_mlp"
family = "runtime"
target = "cpu"
batch = 77
reason = "r"
issue = 1
owner = "release"
expires = 2027-01-31
floor = 0.5
"""


def test_waivers_that_hide_nothing_are_named(tmp_path, cache):
    ran = run(tmp_path, cache, WAIVERS, "-k", "size")
    assert ran.code == 0
    assert "policy.toml:2: the size waiver is no longer needed (1 gate that it" in ran.output
    assert "policy.toml:13: the speed waiver covers no cell" in ran.output
