"""Distillation: a student that learns, a teacher that stays as it is, a loss scaled as it must."""

from __future__ import annotations

import json

import pytest
import torch
from optimizers_models import apply, known, largest_difference, outputs, saved, target
from torch import nn
from torch.nn import functional

import optimizers
import zoo
from optimizers import Context, Refused, artifact, distill
from optimizers.distill import check_loss, train
from optimizers.finetune import digest
from optimizers.student_recipe import StudentRecipe, recipe
from optimizers.teaching import soft_targets

ROWS, CLASSES, EPOCHS = 256, 4, 15


class Taught(zoo.Model):
    """Which of four directions a row points to most; BatchNorm, so that modes show."""

    name = "test_taught"

    def build(self):
        return nn.Sequential(
            nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, CLASSES)
        )

    def split(self, name):
        generator = torch.Generator().manual_seed(
            ["train", "calibration", "evaluation"].index(name)
        )
        rows = torch.randn(ROWS, 8, generator=generator)
        return zoo.Split((rows,), rows[:, :CLASSES].argmax(1))

    def student(self):
        return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES))


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(distill, "recipe", lambda _: StudentRecipe(epochs=EPOCHS, rate=2e-2))
    return known(Taught(), monkeypatch)


@pytest.fixture
def teacher(model):
    """Trained for as long as it takes to be right mostly."""
    torch.manual_seed(0)
    module, split = model.build(), model.split("train")
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        functional.cross_entropy(module(*split.inputs), split.labels).backward()
        optimiser.step()
    optimiser.zero_grad()
    return module.eval()


def context(model, folder, seed=0):
    return Context(model, target(), {}, seed=seed, workdir=folder)


def test_the_artifact_is_the_student_and_loads_from_the_models_name(model, teacher, tmp_path):
    optimized, records = apply("distill", model, tmp_path, module=teacher)
    measured = outputs(optimized, model)
    reloaded = artifact.load(saved(optimized, tmp_path), target())

    assert largest_difference(outputs(reloaded, model), measured) == 0
    assert reloaded.module[0].out_features == 6
    split = model.split("evaluation")
    with torch.no_grad():
        right = (reloaded(*split.inputs).argmax(1) == split.labels).float().mean()
    assert right > 0.5
    notes = records[0]["notes"]
    assert notes["teacher"] == digest(teacher)
    assert notes["training"]["moved"] > 0.01
    described = json.loads((tmp_path / "artifact" / "artifact.json").read_text())
    assert described["stages"][0]["notes"] == notes


@pytest.mark.parametrize(
    "pipeline",
    [
        "distill+onnxruntime_int8",
        "distill+prune_unstructured:0.5",
        "prune_unstructured:0.5+distill",
        "distill:4:1.0+dynamic_int8",
    ],
)
def test_other_stages_go_before_and_after(pipeline, model, teacher, tmp_path):
    optimized, records = apply(pipeline, model, tmp_path, module=teacher)
    measured = outputs(optimized, model)
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6
    assert [record["technique"] for record in records] == [
        part.partition(":")[0] for part in pipeline.split("+")
    ]


# OPT-18: the loss.


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0, 8.0, 20.0])
def test_opt_18_the_real_loss_keeps_its_scale(temperature):
    found = check_loss(soft_targets, temperature)
    assert found["label_ratio"] == pytest.approx(1, abs=1e-3)
    assert 0.5 <= found["temperature_ratio"] <= 2


def unscaled(student, said, temperature):
    return soft_targets(student, said, temperature) / temperature**2


def over_classes(student, said, temperature):
    return soft_targets(student, said, temperature) / student.shape[1]


@pytest.mark.parametrize(
    ("loss", "named"), [(unscaled, "temperature_ratio"), (over_classes, "label_ratio")]
)
def test_opt_18_a_mis_scaled_loss_stops_the_technique(
    loss, named, model, teacher, monkeypatch, tmp_path
):
    monkeypatch.setattr("optimizers.teaching.soft_targets", loss)
    with pytest.raises(RuntimeError, match=f"scaled wrongly: {named}"):
        apply("distill:4:0.5", model, tmp_path, module=teacher)


# OPT-18: the teacher.


def test_opt_18_the_teacher_is_in_eval_mode_and_unchanged(model, teacher, tmp_path):
    before = digest(teacher)
    teacher.train()  # left so by whoever made it
    optimized, _ = distilled(model, teacher, tmp_path)
    assert digest(teacher) == before
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert optimized is not None


def distilled(model, teacher, folder):
    told = Context(model, target(), {"temperature": 4.0, "alpha": 0.5}, seed=0, workdir=folder)
    return optimizers.get("distill").apply(teacher, told), told.notes


class Drifts(nn.Module):
    """Keeps a running mean in eval mode too."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, rows):
        self.mean += 0.1 * (rows.mean() - self.mean)
        return self.inner(rows)


def test_opt_18_a_teacher_that_changes_is_an_error(model, teacher, tmp_path):
    with pytest.raises(RuntimeError, match="weights or statistics changed while it taught"):
        distilled(model, Drifts(teacher), tmp_path)


class Wakes(nn.Module):
    """Goes back to train mode whenever it is called."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, rows):
        found = self.inner(rows)
        self.train()
        return found


def test_opt_18_a_teacher_in_train_mode_is_an_error(model, teacher, tmp_path):
    with pytest.raises(RuntimeError, match="the teacher"):
        distilled(model, Wakes(teacher), tmp_path)


# The ablation: what is compared must differ in the teacher alone.


def test_without_weight_in_the_loss_a_teacher_changes_nothing(model, teacher, tmp_path):
    alone, told = train(context(model, tmp_path), None)
    beside, _ = train(context(model, tmp_path), teacher, 4.0, 0.0)
    taught, _ = train(context(model, tmp_path), teacher, 4.0, 0.9)
    assert digest(alone) == digest(beside)
    assert digest(alone) != digest(taught)
    assert told["steps"] == EPOCHS * ROWS // 64


def test_the_seed_decides_everything(model, teacher, tmp_path):
    torch.manual_seed(5)
    first, _ = train(context(model, tmp_path), teacher, 4.0, 0.5)
    torch.manual_seed(6)
    again, _ = train(context(model, tmp_path), teacher, 4.0, 0.5)
    other, _ = train(context(model, tmp_path, seed=1), teacher, 4.0, 0.5)
    assert digest(first) == digest(again)
    assert digest(first) != digest(other)


# Refusals and settings.


def test_a_model_without_a_student_is_refused():
    for name in ("minilm", "efficientnet_lite0"):
        reason = optimizers.get("distill").refuses(zoo.get(name), target())
        assert reason == f"{name} has no student to teach"
    assert optimizers.get("distill").refuses(zoo.get("lstm"), target()) is None


def test_a_student_that_is_none_after_all_is_refused(model, teacher, monkeypatch, tmp_path):
    monkeypatch.setattr(Taught, "student", lambda self: None)
    with pytest.raises(Refused, match="test_taught has no student to teach"):
        apply("distill", model, tmp_path, module=teacher)


def test_a_model_without_a_training_split_is_refused(model, teacher, monkeypatch, tmp_path):
    def split(self, name):
        raise zoo.Unavailable("evaluation data only")

    monkeypatch.setattr(Taught, "split", split)
    with pytest.raises(Refused, match="no train split: evaluation data only"):
        distilled(model, teacher, tmp_path)


@pytest.mark.parametrize("params", ["0:0.5", "-1:0.5", "4:0", "4:1.5"])
def test_settings_that_teach_nothing_are_an_error(params, model, teacher, tmp_path):
    with pytest.raises(ValueError, match="needs a temperature above 0 and an alpha"):
        apply(f"distill:{params}", model, tmp_path, module=teacher)


# The samples.


def test_moved_copies_keep_labels_and_depend_on_the_seed_alone():
    split = zoo.get("lstm").split("calibration")
    plan = StudentRecipe(copies=3, reach=2)
    first, again, other = (plan.samples(split, seed) for seed in (0, 0, 1))
    assert len(first) == 3 * len(split)
    assert torch.equal(first.labels, split.labels.repeat(3))
    assert torch.equal(first.inputs[0][: len(split)], split.inputs[0])
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert not torch.equal(first.inputs[0], other.inputs[0])
    assert StudentRecipe().samples(split, 0) is split


def test_moved_copies_of_sentences_are_an_error():
    words = zoo.Split({"ids": torch.zeros(4, 3)})
    with pytest.raises(ValueError, match="made of labelled images alone"):
        StudentRecipe(copies=2).samples(words, 0)


def test_every_recipe_is_of_a_model_with_a_student():
    from optimizers.student_recipe import RECIPES

    for name in RECIPES:
        assert zoo.get(name).student() is not None
    assert recipe("a_plug_in") == StudentRecipe()
