"""auto: what is trained again answers each sample as it is, and changed as in training."""

from __future__ import annotations

import math

import pytest
import torch
from auto_subjects import (
    CLASSES,
    ROWS,
    Deep,
    Directions,
    Dropping,
    asked,
    ready,
    searched,
)
from optimizers_models import known, known_technique, target
from torch import Tensor, nn

import zoo
from optimizers import Context, EagerModule
from optimizers.auto_samples import view
from optimizers.auto_validation import VIEWS, Validation

SAMPLES = ROWS + 32
"""The calibration split, and a fifth of training in whole batches."""


class Noisy(Directions):
    """Its training draws anew what no answer should depend on: the last number of a row."""

    name = "test_noisy"

    def train(self, module: nn.Module, seed: int) -> None:
        pass

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(len(inputs), 1, generator=generator)
        return torch.cat([inputs[:, :-1], drawn], dim=1)


class ByChance(nn.Module):
    """Wrong where the last number says so: a fifth of the time, whatever the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, rows: Tensor) -> Tensor:
        self.asked.append(rows)
        wrong = rows[:, -1:].abs().frac() > 0.8
        return torch.where(wrong, -1, 1) * rows[:, :CLASSES]


def validated(model: zoo.Model, monkeypatch, tmp_path, **goal) -> Validation:
    known(model, monkeypatch)
    context = Context(model, target(), {}, seed=0, workdir=tmp_path)
    goal = {"max_drop": 0.5, "judged_on": 500, **goal}
    return Validation(context, asked(model, **goal), Deep(0).eval(), tmp_path / "reference")


def test_chance_is_told_apart_from_loss_by_more_views(monkeypatch, tmp_path):
    found = validated(Noisy(), monkeypatch, tmp_path)
    module = ByChance()
    told = found.judge(module, "B", augmented=True)
    assert sum(map(len, module.asked)) == VIEWS * SAMPLES
    assert told["samples"] == SAMPLES
    assert found.reference()["views"] == VIEWS
    assert told["drop"] == pytest.approx(0.2, abs=0.05)
    once = math.sqrt(told["drop"] / SAMPLES)
    assert told["drop_error"] < 0.8 * once
    assert told["gate_error"] == pytest.approx(once * math.sqrt(SAMPLES / 500), rel=0.05)
    assert told["drop_high"] > told["drop"] + 1.645 * told["gate_error"]
    assert found.judge(ByChance(), "B", augmented=True) == told, "the same views each time"


def test_a_sample_that_is_lost_in_every_view_counts_once(monkeypatch, tmp_path):
    found = validated(Noisy(), monkeypatch, tmp_path)
    told = found.judge(Deep(0, wrong=1).eval(), "B", augmented=True)
    lost = round(told["drop"] * SAMPLES)
    assert told["drop_error"] == pytest.approx(math.sqrt(lost) / SAMPLES)


def test_score_and_likeness_are_of_the_samples_as_they_are(monkeypatch, tmp_path):
    class Outlandish(Noisy):
        def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
            return torch.cat([inputs[:, :-1], torch.full((len(inputs), 1), 0.9)], dim=1)

    found = validated(Outlandish(), monkeypatch, tmp_path)
    told = found.judge(ByChance(), "B", augmented=True)
    assert 0.75 < told["score"] < 0.95
    assert told["alike"] == pytest.approx(told["score"])
    assert told["drop"] == pytest.approx((VIEWS - told["score"]) / VIEWS)


def test_answers_that_are_none_are_found_in_every_view(monkeypatch, tmp_path):
    class Breaking(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            drawn = (rows[:, -1:] == 0.5).all()
            return rows[:, :CLASSES] * (math.nan if drawn else 1.0)

    class Halved(Noisy):
        def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
            return torch.cat([inputs[:, :-1], torch.full((len(inputs), 1), 0.5)], dim=1)

    with pytest.raises(ValueError, match="finite"):
        validated(Halved(), monkeypatch, tmp_path).judge(Breaking(), "B", augmented=True)


@pytest.mark.parametrize(
    ("model", "cls", "augmented"),
    [(Noisy(), "A", True), (Directions(), "B", True), (Noisy(), "B", False)],
)
def test_one_view_where_weights_stay_or_no_training_changed_inputs(
    model, cls, augmented, monkeypatch, tmp_path
):
    module = ByChance()
    found = validated(model, monkeypatch, tmp_path)
    told = found.judge(module, cls, augmented=augmented)
    assert sum(map(len, module.asked)) == SAMPLES
    assert told["drop_error"] == pytest.approx(math.sqrt(told["drop"] / SAMPLES))


class Retrained(Dropping):
    """Structure: trained on inputs that change."""

    name = "h_retrained"

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        made = super().apply(module, context)
        context.model.augment(context.train().inputs[0], torch.Generator())
        return made


def test_what_was_trained_on_inputs_that_change_is_asked_more_often(monkeypatch, tmp_path):
    ready(monkeypatch)
    model = known(Noisy(), monkeypatch)
    known_technique(Retrained, monkeypatch)
    told = searched(model, tmp_path, allow="structure", fidelity=None)[1]
    trials = [one for one in told["search"]["trials"] if "augmented" in one]
    names = {one["pipeline"] for one in trials if one["augmented"]}
    assert names == {one["pipeline"] for one in trials if one["pipeline"].startswith("h_retrained")}
    assert any("+" in name for name in names), "what goes on from it as well"
    assert {one["pipeline"] for one in trials} - names, "others are there"


def test_a_view_keeps_labels_and_groups_and_is_the_same_again():
    rows = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    split = zoo.Split((rows,), torch.arange(6), groups=[0, 0, 1, 1, 2, 2])
    assert view(Noisy(), split, 0) is split
    assert view(Directions(), split, 3) is split
    one, again, other = (view(Noisy(), split, number) for number in (1, 1, 2))
    assert torch.equal(one.inputs[0], again.inputs[0])
    assert not torch.equal(one.inputs[0], other.inputs[0])
    assert torch.equal(one.labels, split.labels)

    class Careless(Noisy):
        def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
            return inputs + torch.randn(inputs.shape)

    drawn = [view(Careless(), split, 1).inputs[0] for _ in range(2)]
    assert torch.equal(*drawn), "whatever it draws from"
    assert one.groups == split.groups
