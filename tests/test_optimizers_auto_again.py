"""auto: what may be far faster is judged by more samples where the first leave it open."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from auto_subjects import ROWS, Deep, Directions, Running, asked, by_name, only, ready, searched
from optimizers_models import known, known_technique, target
from torch import nn

from optimizers import Context, EagerModule, Technique
from optimizers.auto_validation import Validation

REST, HALF = round(0.8 * ROWS), ROWS // 2
FIRST = ROWS + 32
"""Samples that judge a trial: the calibration split, and a fifth of training in whole batches."""


class Trained(Directions):
    """Knows its answers from the start, and counts its trainings."""

    name = "test_trained"
    trainings: ClassVar[list[int]] = []

    def train(self, module: nn.Module, seed: int) -> None:
        self.trainings.append(len(self.split("train")))


class Unlucky(Technique):
    """Structure: takes blocks away; it loses a class where it is trained on all but a fifth."""

    name, family, changes = "p_unlucky", "test", "structure"
    blocks, unlucky = 2, (REST,)

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        module.blocks = module.blocks[: self.blocks]
        if context.worth is not None:
            context.worth(module)
        if len(context.train()) in self.unlucky:
            with torch.no_grad():
                module.head.weight[0] = 0
        return EagerModule(module)

    def rebuild(self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]) -> Any:
        module.blocks = module.blocks[: self.blocks]
        return module


@pytest.fixture
def model(monkeypatch):
    ready(monkeypatch)
    only(monkeypatch)
    monkeypatch.setattr(Trained, "trainings", [])
    for technique in (Unlucky, Running):
        known_technique(technique, monkeypatch)
    return known(Trained(), monkeypatch)


GOAL = {"allow": "structure", "fidelity": None, "max_drop": 0.21}
"""The class that is lost is a fifth of the answers."""


def test_what_is_open_and_far_faster_is_made_from_either_half_and_asked_about_the_other(
    model, tmp_path
):
    told = searched(model, tmp_path, **GOAL)[1]
    trial = by_name(told)["p_unlucky"]
    assert model.trainings == [REST, HALF, HALF], "FP32 without what judges, each time"
    assert trial["status"] == "passes"
    first = trial["first"]
    assert first["drop"] == pytest.approx(0.2, abs=0.02)
    # The two that are made from halves lose nothing, of as many calibration samples each.
    assert trial["samples"] == FIRST + 2 * (ROWS + HALF)
    assert trial["drop"] * trial["samples"] == pytest.approx(first["drop"] * FIRST)
    # With the runtime or without: they take the same time.
    assert told["search"]["pipeline"].startswith("p_unlucky")
    assert told["search"]["undecided"] == []


def test_what_goes_on_from_it_is_moved_by_as_much(model, tmp_path):
    trials = by_name(searched(model, tmp_path, **GOAL)[1])
    one, joined = trials["p_unlucky"], trials["p_unlucky+r_running"]
    assert joined["status"] == "passes"
    assert joined["first"] == one["first"], "its last stage changes no answer"
    assert joined["drop"] == pytest.approx(one["drop"])
    assert joined["drop_error"] == pytest.approx(one["drop_error"])


def test_what_is_trained_once_more_is_judged_for_itself(model, tmp_path, monkeypatch):
    class Again(Unlucky):
        """Takes another block away, and is as unlucky."""

        name, changes, blocks = "q_again", "structure", 1
        scale, variants = ("amount", (0.5,)), ({"amount": 0.5},)

    monkeypatch.setattr(Unlucky, "changes", "architecture")
    known_technique(Again, monkeypatch)
    goal = {**GOAL, "allow": "architecture"}
    trials = by_name(searched(model, tmp_path, **goal)[1])
    assert trials["p_unlucky"]["status"] == "passes"
    assert "first" in trials["p_unlucky+r_running"]
    behind = trials["p_unlucky+q_again:0.5"]
    assert "first" not in behind
    assert behind["status"] == "drops", "the one before it keeps the accuracy, by more samples"


def test_what_more_samples_refuse_is_turned_down_by_all_of_them(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Unlucky, "unlucky", (REST, HALF))
    told = searched(model, tmp_path, **GOAL)[1]
    trial = by_name(told)["p_unlucky"]
    assert trial["status"] == "drops"
    assert trial["drop"] == pytest.approx(0.2, abs=0.03)
    assert trial["drop_error"] < trial["first"]["drop_error"]
    assert told["search"]["pipeline"] == "r_running"


@pytest.mark.parametrize("most", [0.21, 0.17])
def test_what_two_standard_errors_leave_open_is_judged_again(model, tmp_path, most):
    trial = by_name(searched(model, tmp_path, **{**GOAL, "max_drop": most})[1])["p_unlucky"]
    assert trial["first"]["drop"] - most < 2 * trial["first"]["drop_error"]
    assert trial["status"] == "passes"


def test_what_gains_little_over_a_milder_change_is_not_either(model, tmp_path, monkeypatch):
    """That one is known by what it is likely to cost, long before it is joined with a runtime."""

    class Milder(Unlucky):
        name, blocks, unlucky = "o_milder", 3, ()

    known_technique(Milder, monkeypatch)
    trials = by_name(searched(model, tmp_path, **GOAL)[1])
    assert "likely" in trials["o_milder"]
    assert "first" not in trials["p_unlucky"]


@pytest.mark.parametrize("change", [{"blocks": 45}, {"max_drop": 0.1}])
def test_what_gains_little_or_is_plainly_worse_is_not(model, tmp_path, monkeypatch, change):
    monkeypatch.setattr(Unlucky, "blocks", change.get("blocks", Unlucky.blocks))
    goal = {**GOAL, "max_drop": change.get("max_drop", GOAL["max_drop"])}
    trial = by_name(searched(model, tmp_path, **goal)[1])["p_unlucky"]
    assert trial["status"] == "drops"
    assert "first" not in trial
    assert model.trainings == [REST]


def validation(model, tmp_path, **goal):
    context = Context(model, target(), {}, seed=0, workdir=tmp_path)
    return Validation(context, asked(model, **goal), Deep(0).eval(), tmp_path / "reference")


def test_a_sample_that_several_have_answered_counts_once_in_the_error(model, tmp_path):
    found = validation(model, tmp_path, max_drop=0.4)
    wrong = Deep(0, wrong=1).eval()
    told = found.judge_again(wrong, lambda model, module: wrong)
    one = found.judge(wrong, "B")
    # Calibration samples are lost three times each, those of training once or twice.
    assert told["drop_error"] > math.sqrt(told["drop"] / told["samples"]) * 1.2
    assert told["drop_error"] < one["drop_error"]


def test_what_the_gate_adds_is_as_much_for_what_goes_on_from_it(model, tmp_path):
    """Its samples are as many, however many have judged here."""
    found = validation(model, tmp_path, max_drop=0.4, judged_on=200)
    wrong = Deep(0, wrong=1).eval()
    one = found.judge(wrong, "B")
    first = {name: one[name] for name in ("drop", "drop_error")}
    again = {**found.judge_again(wrong, lambda model, module: wrong), "first": first}
    moved = found.moved(one, again)
    same = ("drop", "drop_error")
    assert [moved[name] for name in same] == pytest.approx([again[name] for name in same])
    gate = one["drop_error"] * math.sqrt(FIRST / 200)
    high = again["drop"] + 1.645 * gate + 0.674 * math.hypot(again["drop_error"], gate)
    assert moved["drop_high"] == pytest.approx(high, abs=1e-4)
    assert again["drop_high"] == pytest.approx(high, rel=0.05)


def test_a_search_that_goes_on_makes_no_half_again(model, tmp_path):
    first = validation(model, tmp_path)
    assert [len(half.split("train")) for half, _ in first.halves] == [HALF, HALF]
    assert len(validation(model, tmp_path).halves) == 2
    assert model.trainings == [HALF, HALF]
    parts = [{group for part in start.parts for group in part.groups} for _, start in first.halves]
    assert {name for name, _ in parts[0] & parts[1]} == {"calibration"}
