"""The claim `distilled` on a student that was taught, and on five that were not."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from test_gauge_evidence import LINE, Eager, found
from torch import nn

from gauge.evidence.distilled import teacher_hash

GOOD = {"temperature_ratio": 0.7, "label_ratio": 1.0}


@pytest.fixture(scope="module")
def baseline():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()


def untaught():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)).eval()


@pytest.fixture(scope="module")
def student(baseline):
    """Fitted to the baseline's answers around the inputs that evidence is counted on."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    rows = torch.cat([LINE, LINE + 0.1 * torch.randn(30, 2, 64).reshape(60, 64).repeat(1, 1)[:2]])
    with torch.no_grad():
        said = baseline(rows)
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(200):
        optimiser.zero_grad()
        nn.functional.mse_loss(module(rows), said).backward()
        optimiser.step()
    return module.eval()


def record(folder, teacher, loss_check=GOOD, before=()):
    stages = [
        *({"technique": name, "params": {}, "notes": {}} for name in before),
        {
            "technique": "distill",
            "params": {"temperature": 4.0, "alpha": 0.5},
            "notes": {"teacher": teacher_hash(teacher), "loss_check": loss_check},
        },
    ]
    (folder / "artifact.json").write_text(json.dumps({"stages": stages}))


def test_a_taught_student_is_found(baseline, student, tmp_path):
    record(tmp_path, baseline)
    ok, text, numbers = found("distilled", Eager(student), baseline, LINE, tmp_path)
    assert ok, text
    assert "bit by bit" in text
    assert numbers["divergence"] < 0.5
    assert numbers["taken_over"] == 0
    assert numbers["teacher_is_baseline"]


def test_a_student_that_learned_nothing_is_not(baseline, tmp_path):
    record(tmp_path, baseline)
    ok, text, numbers = found("distilled", Eager(untaught()), baseline, LINE, tmp_path)
    assert not ok
    assert text.startswith("does not follow the baseline: ")
    assert numbers["divergence"] > 0.5


def test_the_baseline_itself_is_no_student_of_its_own(baseline, tmp_path):
    record(tmp_path, baseline)
    copied = copy.deepcopy(baseline)
    ok, text, _ = found("distilled", Eager(copied), baseline, LINE, tmp_path)
    assert not ok
    assert "2 weights are the baseline's own" in text


def test_another_teacher_than_the_baseline_is_told(baseline, student, tmp_path):
    record(tmp_path, untaught())
    ok, text, _ = found("distilled", Eager(student), baseline, LINE, tmp_path)
    assert not ok
    assert "the teacher in the record is not the baseline" in text


def test_a_teacher_made_by_a_stage_before_is_accepted_as_such(baseline, student, tmp_path):
    record(tmp_path, untaught(), before=["prune_unstructured"])
    ok, text, numbers = found("distilled", Eager(student), baseline, LINE, tmp_path)
    assert ok, text
    assert "what earlier stages made of it" in text
    assert "teacher_is_baseline" not in numbers


@pytest.mark.parametrize("check", [{"temperature_ratio": 0.06}, {}])
def test_opt_18_a_record_of_a_mis_scaled_loss_is_not_found(check, baseline, student, tmp_path):
    record(tmp_path, baseline, check)
    ok, text, _ = found("distilled", Eager(student), baseline, LINE, tmp_path)
    assert not ok
    assert "the loss check in the record failed" in text


def test_an_artifact_without_a_record_is_not_found(baseline, student, tmp_path):
    ok, text, numbers = found("distilled", Eager(student), baseline, LINE, tmp_path)
    assert not ok
    assert text == "the artifact holds no record of a distillation"
    # In a pipeline it is then looked for in what the earlier stage saved.
    assert numbers["opaque"]


def test_other_outputs_than_the_baselines_are_infinitely_far(baseline, tmp_path):
    record(tmp_path, baseline)
    wide = nn.Linear(64, 11)
    ok, _, numbers = found("distilled", Eager(wide), baseline, LINE, tmp_path)
    assert not ok
    assert numbers["divergence"] == float("inf")


def test_the_hash_is_over_weights_and_statistics():
    norm = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    before = teacher_hash(norm)
    norm.train()(torch.randn(8, 4))
    assert teacher_hash(norm) != before
