"""Architecture search: what a seed decides, going on after a stop, budgets, and the artifact."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from optimizers_models import apply, known, largest_difference, outputs, saved, target
from torch import nn

import optimizers
import zoo
from gauge import evidence
from optimizers import Context, artifact, nas_evolution, search_trials
from optimizers.search_evaluator import Budget, Evaluator, best, front
from optimizers.search_space import SPACES, Space
from optimizers.search_trials import CHANCE, EVOLUTION, explore, open_study, records

ROWS, CLASSES = 200, 4
CLOCK = ("latency_ms", "latency_error", "seconds")


class Searched(zoo.Model):
    """Which of four directions a row points to most."""

    name = "test_searched"

    def build(self):
        # Far slower than any candidate, whatever else the machine does.
        deep = [layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.ReLU())]
        return nn.Sequential(nn.Linear(8, 64), *deep, nn.Linear(64, 4))

    def split(self, name):
        if name == "evaluation" and self.guarded:
            raise AssertionError("the search asked for the evaluation split")
        generator = torch.Generator().manual_seed(
            ["train", "calibration", "evaluation"].index(name)
        )
        rows = torch.randn(ROWS, 8, generator=generator)
        return zoo.Split((rows,), rows[:, :CLASSES].argmax(1))

    def example(self, batch):
        return (torch.ones(batch, 8),), {}

    guarded = False


def tiny(choice):
    width = choice["width"]
    layers = [nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU()]
    for _ in range(choice["depth"] - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


SPACE = Space({"depth": (1, 2), "width": (2, 4, 6, 8, 12)}, tiny, short=3, long=10, rate=2e-2)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr("optimizers.search_cost.SEGMENT", 2e-4)  # No time is looked at here.
    monkeypatch.setitem(SPACES, "test_searched", SPACE)
    return known(Searched(), monkeypatch)


def context(model, folder, seed=0, **budget):
    return Context(
        model, target(), {"trials": 4}, seed=seed, workdir=folder, budget=budget, kept=folder / "k"
    )


def module():
    torch.manual_seed(0)
    return Searched().build().eval()


def search(model, folder, *, seed=0, trials=4, strategy=EVOLUTION, space=SPACE, evaluate=None):
    evaluator = evaluate or Evaluator(context(model, folder, seed), space, module())
    study = open_study(folder / "search.sqlite3")
    return explore(study, evaluator, space, trials=trials, seed=seed, strategy=strategy)


def timeless(found):
    return [{key: one[key] for key in one if key not in CLOCK} for one in found]


def fake(choice):
    """A record without training: what the proposals depend on."""
    parameters = 10 * choice["width"] * choice["depth"]
    return {
        "choice": dict(choice),
        "right": 1 - 1 / parameters,
        "parameters": parameters,
        "bytes": 4 * parameters,
        "macs": parameters,
        "latency_ms": parameters / 100,
        "latency_error": 0.01,
        "seconds": 0.0,
    }


# What a seed decides.


@pytest.mark.parametrize("strategy", [EVOLUTION, CHANCE])
def test_a_seed_decides_every_trial_but_its_times(strategy, model, tmp_path):
    first = search(model, tmp_path / "a", strategy=strategy)
    torch.manual_seed(99)
    again = search(model, tmp_path / "b", strategy=strategy)
    assert timeless(first) == timeless(again)
    assert len({json.dumps(one["choice"]) for one in first}) == 4
    other = search(model, tmp_path / "c", strategy=strategy, seed=1, evaluate=fake)
    assert [one["choice"] for one in other] != [one["choice"] for one in first]


WIDE = Space(dict.fromkeys("abc", tuple(range(8))), tiny, 1, 1)


def total(choice):
    """The smaller all its parameters, the better."""
    size = sum(choice.values())
    return {
        **fake({"depth": 1, "width": 1}),
        "choice": dict(choice),
        "right": 1 - size / 100,
        "bytes": 100 - size,
    }


def last(folder, **how):
    """Sum of the parameters of the last eight of 32 candidates."""
    study = open_study(folder / "search.sqlite3")
    found = explore(study, total, WIDE, trials=32, seed=0, **how)
    return sum(sum(one["choice"].values()) for one in found[24:])


def test_evolution_follows_what_it_saw_and_what_is_allowed(tmp_path):
    chance = last(tmp_path / "a", strategy=CHANCE)
    assert last(tmp_path / "b", strategy=EVOLUTION) < 0.8 * chance
    # Small ones are better and too large: what is allowed comes first.
    assert last(tmp_path / "c", strategy=EVOLUTION, budget=Budget(size_mb=84e-6)) > 1.1 * chance


def test_the_clock_changes_no_proposal(tmp_path):
    proposed = []
    for sign in (1, -1):

        def timed(choice, sign=sign):
            return {**total(choice), "latency_ms": 100.0 + sign * sum(choice.values())}

        study = open_study(tmp_path / f"{sign}.sqlite3")
        found = explore(study, timed, WIDE, trials=16, seed=0)
        proposed.append([one["choice"] for one in found])
    assert proposed[0] == proposed[1]


# Stopped searches.


class Cut(Exception):
    pass


@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_stopped_search_goes_on_as_if_it_had_not_been(at, model, tmp_path):
    whole = search(model, tmp_path / "whole", trials=8, evaluate=fake)
    calls = []

    def cut(choice):
        if len(calls) == at:
            raise Cut
        calls.append(choice)
        return fake(choice)

    with pytest.raises(Cut):
        search(model, tmp_path / "cut", trials=8, evaluate=cut)
    assert len(records(open_study(tmp_path / "cut" / "search.sqlite3"))) == at

    def counted(choice):
        calls.append(choice)
        return fake(choice)

    found = search(model, tmp_path / "cut", trials=8, evaluate=counted)
    assert found == whole
    assert len(calls) == 8


def test_the_technique_goes_on_in_the_folder_that_is_kept(model, tmp_path, monkeypatch):
    calls, score = [], Evaluator.__call__

    def cut(self, choice):
        if len(calls) == 2:
            raise Cut
        calls.append(choice)
        return score(self, choice)

    monkeypatch.setattr(Evaluator, "__call__", cut)
    technique = optimizers.get("nas_evolution")
    with pytest.raises(Cut):
        technique.apply(module(), context(model, tmp_path))
    monkeypatch.setattr(Evaluator, "__call__", score)
    before = records(open_study(tmp_path / "k" / "search.sqlite3"))
    told = context(model, tmp_path)
    technique.apply(module(), told)
    assert told.notes["search"]["trials"][:2] == before
    assert len(told.notes["search"]["trials"]) == 4


# Spaces.


def test_a_space_of_one_candidate_is_legal(model, tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, "test_searched", Space({"depth": (1,), "width": (4,)}, tiny, 1, 2))
    optimized, stages = apply("nas_evolution:4", model, tmp_path, module=module())
    notes = stages[0]["notes"]
    assert [one["choice"] for one in notes["search"]["trials"]] == [{"depth": 1, "width": 4}]
    assert claims(optimized, model, tmp_path)["searched"].found


def test_more_trials_than_candidates_try_each_once(model, tmp_path):
    found = search(model, tmp_path, trials=50, evaluate=fake)
    assert sorted((one["choice"]["depth"], one["choice"]["width"]) for one in found) == [
        (depth, width) for depth in (1, 2) for width in (2, 4, 6, 8, 12)
    ]


@pytest.mark.parametrize("name", sorted({"digits_mlp", "lstm", "vit", "resnet18"}))
def test_the_smallest_and_the_largest_of_a_space_take_the_models_input(name):
    model, space = zoo.get(name), SPACES[name]
    choices = list(space.every())
    args, kwargs = model.example(2)
    whole = sum(one.numel() for one in model.build().parameters())
    for choice in (choices[0], choices[-1]):
        built = space.build(choice).eval()
        assert built(*args, **kwargs).shape == (2, 10)
        assert sum(one.numel() for one in built.parameters()) < whole


@pytest.mark.parametrize(
    "choice", [{"depth": 1}, {"depth": 1, "width": 5}, {"width": 4, "depth": 1}]
)
def test_what_is_none_of_the_space_is_not_built(choice):
    with pytest.raises(ValueError, match="found"):
        SPACE.build(choice)


# Budgets.


def made(right, latency, size, error=0.0, macs=1):
    return {
        "right": right, "latency_ms": latency, "latency_error": error, "bytes": size, "macs": macs,
    }  # fmt: skip


def test_the_best_within_the_budget_is_chosen_and_what_may_be_over_is_over():
    found = [made(0.9, 2.0, 8e6), made(0.8, 0.99, 4e6, error=0.02), made(0.7, 0.5, 2e6)]
    assert best(found, Budget()) == 0
    assert best(found, Budget(latency_ms=1.0)) == 2
    assert best(found, Budget(size_mb=4.0)) == 1
    assert best([made(0.9, 1, 1, macs=5), made(0.9, 9, 9, macs=4)], Budget()) == 1


def test_where_nothing_fits_the_closest_is_chosen_by_its_worst_side():
    found = [made(0.9, 1.5, 9e6), made(0.1, 3.0, 2e6), made(0.5, 2.0, 3e6)]
    assert best(found, Budget(latency_ms=1.0, size_mb=2.0)) == 2


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


def test_the_artifact_is_the_found_model_and_loads_from_plain_data(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Searched, "guarded", True)
    optimized, stages = apply("nas_evolution:4", model, tmp_path, module=module())
    monkeypatch.setattr(Searched, "guarded", False)
    measured = outputs(optimized, model)
    found = claims(optimized, model, tmp_path)
    assert all(one.found for one in found.values()), {k: v.text for k, v in found.items()}
    assert found["within_budget"].text == "no budget was stated"
    reloaded = artifact.load(tmp_path / "artifact", target())
    assert largest_difference(outputs(reloaded, model), measured) == 0
    notes = stages[0]["notes"]
    assert notes["choice"] == notes["search"]["trials"][notes["search"]["chosen"]]["choice"]
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
    smallest = min(one["bytes"] for one in told.notes["search"]["trials"])
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


def better(search):
    """Another trial that was better and within the limits."""
    search["limits"] = {}
    search["trials"][search["chosen"] - 1]["right"] = 2.0


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda n: n["search"]["trials"].pop(), "4 different candidates were asked for"),
        (lambda n: n["search"].update(chosen=9), "trial 9 was chosen"),
        (lambda n: better(n["search"]), "trials within the limits are better than the chosen"),
        (lambda n: n["search"].update(chosen=(n["search"]["chosen"] + 1) % 4), "parameters"),
    ],
)
def test_a_record_that_is_not_what_was_found_is_told(fault, says, model, tmp_path):
    optimized, _ = apply("nas_evolution:4", model, tmp_path, module=module())
    fault(optimized.stages[0]["notes"])
    found = claims(optimized, model, tmp_path)
    assert not found["searched"].found
    assert says in found["searched"].text


# Refusals.


def test_a_model_without_a_space_is_refused():
    assert "no space" in optimizers.get("nas_evolution").refuses(zoo.get("minilm"), target())


def test_without_optuna_it_is_refused_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    reason = optimizers.get("nas_evolution").refuses(zoo.get("digits_mlp"), target())
    assert reason == "optuna is not installed (pip install optgauge[search])"


def test_no_trials_are_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="at least one trial, found 0"):
        apply("nas_evolution:0", model, tmp_path, module=module())


def test_an_unknown_strategy_is_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="found 'luck'"):
        search(model, tmp_path, strategy="luck", evaluate=fake)
    assert nas_evolution.EVOLUTION == search_trials.EVOLUTION
