"""Techniques that search: spaces, budgets, going on after a stop, the artifact and its claims."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optimizers_models import apply, known, largest_difference, outputs, saved, target
from search_models import SPACE, Cut, Searched, context, made, module, narrow, opened, tiny

import optimizers
import zoo
from gauge import evidence
from gauge.evidence import searched
from optimizers import artifact
from optimizers.search_controller import Controller
from optimizers.search_cost import cost
from optimizers.search_evaluator import Budget, Evaluator, Rule, front, standard_error
from optimizers.search_space import SPACES, Space

TECHNIQUES = ("nas_evolution", "nas_reinforce")


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr("optimizers.search_cost.SEGMENT", 2e-4)  # No time is looked at here.
    monkeypatch.setitem(SPACES, "test_searched", SPACE)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # In this process, to look at.
    return known(Searched(), monkeypatch)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_the_technique_goes_on_in_the_folder_that_is_kept(name, model, tmp_path, monkeypatch):
    calls, score = [], Evaluator._scored

    def cut(self, choice):
        if len(calls) == 2:
            raise Cut
        calls.append(choice)
        return score(self, choice)

    monkeypatch.setattr(Evaluator, "_scored", cut)
    technique = optimizers.get(name)
    with pytest.raises(Cut):
        technique.apply(module(), context(model, tmp_path))
    monkeypatch.setattr(Evaluator, "_scored", score)
    before = opened(tmp_path / "k").all()
    told = context(model, tmp_path)
    technique.apply(module(), told)
    assert told.notes["search"]["trials"][:2] == before
    assert len(told.notes["search"]["trials"]) == 4


# Spaces.


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_space_of_one_candidate_is_legal(name, model, tmp_path, monkeypatch):
    monkeypatch.setitem(
        SPACES, "test_searched", Space({"depth": (1,), "width": (4,)}, tiny, narrow, 1, 2)
    )
    optimized, stages = apply(f"{name}:4", model, tmp_path, module=module())
    notes = stages[0]["notes"]
    assert [one["choice"] for one in notes["search"]["trials"]] == [{"depth": 1, "width": 4}]
    assert claims(optimized, model, tmp_path)["searched"].found


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_value_of_a_space_takes_the_models_input(name):
    model, space = zoo.get(name), SPACES[name]
    args, kwargs = model.example(2)
    least, most = ({key: at(one) for key, one in space.choices.items()} for at in (min, max))
    several = [
        {**other, key: value}
        for other in (least, most)
        for key, values in space.choices.items()
        for value in values
    ]
    for choice in several:
        with torch.inference_mode():
            assert space.build(choice).eval()(*args, **kwargs).shape == (2, 10)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_the_largest_of_a_space_is_smaller_than_the_model_and_so_is_what_is_scaled_down(name):
    model, space = zoo.get(name), SPACES[name]
    largest = {key: max(values) for key, values in space.choices.items()}
    scaled = space.scaled_down()
    assert 3 < len(scaled) < 10
    whole = cost(model.build().eval(), model.example(1))
    for choice in (largest, scaled[-1]):
        found = cost(space.build(choice).eval(), model.example(1))
        assert found["parameters"] < whole["parameters"]
        assert found["macs"] < whole["macs"]


@pytest.mark.parametrize(
    "choice", [{"depth": 1}, {"depth": 1, "width": 5}, {"width": 4, "depth": 1}]
)
def test_what_is_none_of_the_space_is_not_built(choice):
    with pytest.raises(ValueError, match="found"):
        SPACE.build(choice)


# Budgets.


def test_the_best_within_the_budget_is_chosen_and_what_may_be_over_is_over():
    found = [made(0.9, 2.0, 8e6), made(0.8, 0.99, 4e6, error=0.02), made(0.7, 0.5, 2e6)]
    rule = Rule(1000)
    assert rule.best(found, Budget()) == 0
    assert rule.best(found, Budget(latency_ms=1.0)) == 2
    assert rule.best(found, Budget(size_mb=4.0)) == 1


def test_the_fastest_or_smallest_within_one_standard_error_of_the_best_is_chosen():
    # Of 0.9 on 400 samples: 0.015.
    found = [made(0.90, 3.0, 3), made(0.886, 2.0, 2), made(0.884, 1.0, 1), made(0.889, 2.5, 1)]
    assert Rule(400).leader(found, Budget()) == 0
    assert Rule(400).best(found, Budget()) == 1
    assert Rule(400, "bytes").best(found, Budget()) == 3
    assert Rule(100).best(found, Budget()) == 2, "fewer samples tell less apart"
    assert Rule(400).best(found, Budget(size_mb=1e-6)) == 2, "the best of what is allowed counts"
    assert Rule(40_000).best(found, Budget()) == 0
    # All right: one sample fewer is no difference, two are.
    perfect = [made(1.0, 3.0, 1), made(0.998, 2.0, 1), made(0.996, 1.0, 1)]
    assert Rule(500).best(perfect, Budget()) == 1


def test_small_is_asked_for_by_a_budget_of_size_alone():
    assert Rule.of(9, {"size_mb": 1.0}).by == "bytes"
    for stated in ({}, {"latency_ms": 1.0}, {"latency_ms": 1.0, "size_mb": 1.0}):
        assert Rule.of(9, stated).by == "latency_ms"


scores = st.integers(0, 100).map(lambda right: right / 100)


@given(st.lists(st.tuples(scores, st.integers(1, 9), st.integers(1, 9)), min_size=1), scores)
def test_what_is_chosen_loses_no_more_than_an_error_and_what_gauge_recounts(rows, size):
    found = [made(*row) for row in rows]
    for stated in ({}, {"size_mb": 1e-7 * 10 ** (2 * size)}):
        rule, budget = Rule.of(50, stated), Budget(**stated)
        number = rule.best(found, budget)
        kept = [one for one in found if not budget.misses(one)]
        if kept:
            top = max(one["right"] for one in kept)
            assert found[number]["right"] >= top - standard_error(top, 50) - 1e-9
        assert searched._better(kept, found[number], 50, stated)[0] == 0


def test_where_nothing_fits_the_closest_is_chosen_by_its_worst_side():
    found = [made(0.9, 1.5, 9e6), made(0.1, 3.0, 2e6), made(0.5, 2.0, 3e6)]
    assert Rule(1000).best(found, Budget(latency_ms=1.0, size_mb=2.0)) == 2


def test_the_front_is_what_nothing_beats_in_score_and_latency():
    found = [made(0.9, 3.0, 1), made(0.8, 4.0, 1), made(0.5, 1.0, 1), made(0.5, 2.0, 1)]
    assert front(found) == [2, 0]


def claims(optimized, model, folder):
    directory = saved(optimized, folder)
    subject = evidence.Subject(
        candidate=artifact.load(directory, target()),
        baseline=module(),
        batch=model.example(4),
        directory=directory,
        target=target(),
    )
    found = evidence.count(optimizers.get("nas_evolution").claims, subject)
    return {name: type("Told", (), one) for name, one in found.items()}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_the_artifact_is_the_found_model_and_loads_from_plain_data(
    name, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(Searched, "guarded", True)
    optimized, stages = apply(f"{name}:4", model, tmp_path, module=module())
    monkeypatch.setattr(Searched, "guarded", False)
    measured = outputs(optimized, model)
    found = claims(optimized, model, tmp_path)
    assert all(one.found for one in found.values()), {k: v.text for k, v in found.items()}
    assert found["within_budget"].text == "no budget was stated"
    for told in ("best within the limits: ", ", chance ", ", scaled down "):
        assert told in found["searched"].text
    reloaded = artifact.load(tmp_path / "artifact", target())
    assert largest_difference(outputs(reloaded, model), measured) == 0
    notes = stages[0]["notes"]
    beside = {name: len(one["trials"]) for name, one in notes["search"]["beside"].items()}
    assert beside == {"chance": 4, "scaled down": 5}
    assert (
        notes["choice"] == notes["search"]["trials"][notes["search"]["returned"]["trial"]]["choice"]
    )
    described = json.loads((tmp_path / "artifact" / "artifact.json").read_text())
    assert described["stages"][0]["notes"] == notes
    split = model.split("evaluation")
    with torch.no_grad():
        assert (reloaded(*split.inputs).argmax(1) == split.labels).float().mean() > 0.5


def test_a_budget_that_nothing_meets_gives_the_closest_and_fails_its_claim(
    model, tmp_path, monkeypatch
):
    technique = optimizers.get("nas_evolution")
    told = context(model, tmp_path, size_mb=1e-6)
    optimized = technique.apply(module(), told)
    smallest = min(one["bytes"] for one in opened(tmp_path / "k").all())
    share = smallest / 1 - 1
    assert told.notes["budget"]["missed_by"] == pytest.approx({"size": share})
    optimized.model = model.full_name
    optimized.stages = [
        {"technique": "nas_evolution", "params": {"trials": 4}, "notes": told.notes}
    ]
    optimized.place(target())
    found = claims(optimized, model, tmp_path)
    assert not found["within_budget"].found
    assert f"over it by {share:.1%}" in found["within_budget"].text
    assert found["searched"].found


def test_what_chance_or_a_designer_found_is_returned_where_the_search_found_nothing(
    model, tmp_path, monkeypatch
):
    monkeypatch.setattr(Controller, "draw", lambda self: {"depth": 2, "width": 12})
    narrowest = SPACE.build({"depth": 2, "width": 2}).state_dict().values()
    size = sum(one.numel() * one.element_size() for one in narrowest) / 1e6
    told = context(model, tmp_path, size_mb=size, latency_ms=1e9)
    told.params["trials"] = 1
    optimized = optimizers.get("nas_reinforce").apply(module(), told)
    assert told.notes["choice"] == {"depth": 2, "width": 2}
    assert told.notes["search"]["returned"]["of"] == "scaled down"
    assert told.notes["budget"]["missed_by"] == {}
    optimized.model = model.full_name
    optimized.stages = [
        {"technique": "nas_reinforce", "params": {"trials": 1}, "notes": told.notes}
    ]
    optimized.place(target())
    found = claims(optimized, model, tmp_path)
    assert found["within_budget"].found
    assert "returned is trial 0 of scaled down" in found["searched"].text


def better(search):
    """Another trial that was better and within the limits."""
    search["limits"] = {}
    search["trials"][search["returned"]["trial"] - 1]["right"] = 2.0


def nearer(search):
    """One that scored as well and was faster."""
    chosen = search["trials"][search["returned"]["trial"]]
    other = search["trials"][search["returned"]["trial"] - 1]
    for one in search["trials"]:
        one.update(right=0.5, latency_ms=2 * chosen["latency_ms"])
    chosen["right"] = 0.9
    chosen["latency_ms"] *= 1.5
    other.update(right=chosen["right"] - 1e-3, latency_ms=chosen["latency_ms"] / 2)


def other(search):
    """Another candidate of the same space."""
    search["limits"] = {"latency_ms": 0.0}
    search["returned"]["trial"] = (search["returned"]["trial"] + 1) % 4


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda n: n["trials"].pop(), "4 different candidates were asked for"),
        (lambda n: n["beside"]["chance"]["trials"].pop(), "chance had fewer trials"),
        (lambda n: n["returned"].update(trial=9), "trial 9 of evolution was returned, which is no"),
        (lambda n: n["returned"].update(of="luck"), "of luck was returned, which is none"),
        (better, "trials within the limits are better than evolution's"),
        (lambda n: n["returned"].update(of="chance"), "are better than chance's"),
        (other, "parameters, the chosen trial"),
        (nearer, "1 trials within the limits are better than evolution's"),
    ],
)
def test_a_record_that_is_not_what_was_found_is_told(fault, says, model, tmp_path):
    optimized, _ = apply("nas_evolution:4", model, tmp_path, module=module())
    search = optimized.stages[0]["notes"]["search"]
    search["limits"] = {}  # No trial is too slow, whatever the machine does.
    fault(search)
    found = claims(optimized, model, tmp_path)
    assert not found["searched"].found
    assert says in found["searched"].text


# Refusals.


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_model_without_a_space_is_refused(name):
    assert "no space" in optimizers.get(name).refuses(zoo.get("minilm"), target())


@pytest.mark.parametrize("name", TECHNIQUES)
def test_without_optuna_it_is_refused_and_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    reason = optimizers.get(name).refuses(zoo.get("digits_mlp"), target())
    assert reason == "optuna is not installed (pip install optgauge[search])"


def test_no_trials_are_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="at least one trial, found 0"):
        apply("nas_evolution:0", model, tmp_path, module=module())
