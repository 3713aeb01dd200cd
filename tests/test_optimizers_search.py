"""Architecture search: what a seed decides, going on after a stop, budgets, and the artifact."""

from __future__ import annotations

import copy
import json
import math
import os
import sys

import pytest
import torch
from optimizers_models import apply, known, largest_difference, outputs, saved, target
from torch import nn

import optimizers
import zoo
from gauge import evidence
from optimizers import Context, artifact
from optimizers.search_controller import Controller, reward
from optimizers.search_evaluator import Budget, Evaluator, best, front
from optimizers.search_parallel import side_by_side
from optimizers.search_space import SPACES, Space
from optimizers.search_trials import CHANCE, EVOLUTION, REINFORCE, STRATEGIES, Store, explore
from optimizers.statistics import renew

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


def narrow(choice):
    return choice["depth"] == 2


SPACE = Space(
    {"depth": (1, 2), "width": (2, 4, 6, 8, 12)}, tiny, narrow, short=3, long=10, rate=2e-2
)
TECHNIQUES = ("nas_evolution", "nas_reinforce")


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
    return explore(opened(folder), evaluator, space, trials=trials, seed=seed, strategy=strategy)


def opened(folder):
    return Store(folder / "search.sqlite3")


def timeless(found):
    return [{key: one[key] for key in one if key not in CLOCK} for one in found]


def fake(choices):
    """Records without training: what the proposals depend on."""
    return map(record, choices)


def record(choice):
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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_seed_decides_every_trial_but_its_times(strategy, model, tmp_path):
    first = search(model, tmp_path / "a", strategy=strategy)
    torch.manual_seed(99)
    again = search(model, tmp_path / "b", strategy=strategy)
    assert timeless(first) == timeless(again)
    assert len({json.dumps(one["choice"]) for one in first}) == 4
    other = search(model, tmp_path / "c", strategy=strategy, seed=1, evaluate=fake)
    assert [one["choice"] for one in other] != [one["choice"] for one in first]


WIDE = Space(dict.fromkeys("abc", tuple(range(8))), tiny, narrow, 1, 1)


def total(choices):
    """The smaller all its parameters, the better."""
    for choice in choices:
        size = sum(choice.values())
        yield {
            **record({"depth": 1, "width": 1}),
            "choice": dict(choice),
            "right": 1 - size / 100,
            "bytes": 100 - size,
        }


def last(folder, **how):
    """Sum of the parameters of the last eight of 32 candidates, over three seeds."""
    found = 0
    for seed in range(3):
        store = opened(folder / str(seed))
        tried = explore(store, total, WIDE, trials=32, seed=seed, **how)
        found += sum(sum(one["choice"].values()) for one in tried[24:])
    return found


def test_what_a_search_saw_and_what_is_allowed_changes_what_it_proposes(tmp_path):
    chance = last(tmp_path / "chance", strategy=CHANCE)
    for strategy in (EVOLUTION, REINFORCE):
        assert last(tmp_path / strategy, strategy=strategy) < 0.9 * chance
        # Small ones are better and too large: what is allowed comes first.
        folder, tight = tmp_path / f"{strategy}, tight", Budget(size_mb=84e-6)
        assert last(folder, strategy=strategy, budget=tight) > 1.1 * chance


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_clock_changes_no_proposal(strategy, tmp_path):
    proposed = []
    for sign in (1, -1):

        def timed(choices, sign=sign):
            for one in total(choices):
                yield {**one, "latency_ms": 100.0 + sign * sum(one["choice"].values())}

        store = opened(tmp_path / str(sign))
        found = explore(store, timed, WIDE, trials=16, seed=0, strategy=strategy)
        proposed.append([one["choice"] for one in found])
    assert proposed[0] == proposed[1]


def test_the_controller_starts_without_a_preference_and_follows_its_reward():
    controller = Controller(WIDE, 32, 0, Budget())
    good, bad = dict.fromkeys("abc", 0), dict.fromkeys("abc", 7)

    def logs():
        places = [controller._places(one) for one in (good, bad)]
        return [controller._policy(one)[1].item() for one in places]

    assert logs() == pytest.approx([3 * math.log(1 / 8)] * 2)
    controller.learn(list(total([good, bad])))
    after = logs()
    assert after[0] > 3 * math.log(1 / 8) > after[1]
    # What chance drew in its place teaches it nothing.
    controller.given(bad)
    controller.learn(list(total([bad])))
    assert logs() == after


def test_a_reward_rises_with_the_score_and_falls_with_products_and_with_what_is_too_large():
    one = made(0.9, 1.0, 2e6, macs=1000)
    plain = reward(one, Budget())
    assert reward({**one, "right": 0.91}, Budget()) > plain
    twice = reward({**one, "macs": 2000}, Budget()) - plain
    assert twice == pytest.approx(math.log(0.95), abs=0.005)
    assert reward(one, Budget(size_mb=1.0)) == pytest.approx(plain - math.log(2))
    assert reward(one, Budget(size_mb=3.0)) == plain
    assert math.isfinite(reward({**one, "right": 0.0, "macs": 0}, Budget()))


# How candidates are scored.


def test_statistics_of_batchnorm_are_those_of_the_samples_when_a_candidate_is_scored(
    model, tmp_path
):
    evaluate, seen = Evaluator(context(model, tmp_path), SPACE, module()), []

    class Seen(Evaluator):
        def right(self, module):
            seen.append(copy.deepcopy(module))
            return super().right(module)

    evaluate.__class__ = Seen
    list(evaluate([{"depth": 2, "width": 4}]))
    again = copy.deepcopy(seen[0])
    renew(again, evaluate.rest)
    for name, value in seen[0].state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_several_threads_train_candidates_side_by_side_with_the_same_outcome(
    model, tmp_path, monkeypatch
):
    choices = list(SPACE.every())[:3]
    evaluate = Evaluator(context(model, tmp_path), SPACE, module())
    alone = list(evaluate(choices))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    together = []
    real = side_by_side

    def counted(function, items):
        together.append(len(items))
        return real(function, items)

    monkeypatch.setattr("optimizers.search_evaluator.side_by_side", counted)
    assert timeless(evaluate(choices)) == timeless(alone)
    assert together == [2, 1]


def test_a_failure_beside_others_is_told_and_ends_them():
    def one(number):
        if number == 1:
            raise ValueError("the loss is nan")
        if number == 2:
            os._exit(3)
        return number

    assert side_by_side(one, [0, 5]) == [0, 5]
    with pytest.raises(RuntimeError, match="ValueError: the loss is nan"):
        side_by_side(one, [0, 1])
    with pytest.raises(RuntimeError, match="ended with 3 and no answer"):
        side_by_side(one, [0, 2])


# Stopped searches.


class Cut(Exception):
    pass


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_stopped_search_goes_on_as_if_it_had_not_been(at, strategy, model, tmp_path):
    whole = search(model, tmp_path / "whole", trials=8, evaluate=fake, strategy=strategy)
    calls = []

    def cut(choices):
        for choice in choices:
            if len(calls) == at:
                raise Cut
            calls.append(choice)
            yield record(choice)

    with pytest.raises(Cut):
        search(model, tmp_path / "cut", trials=8, evaluate=cut, strategy=strategy)
    assert len(opened(tmp_path / "cut").all()) == at

    def counted(choices):
        calls.extend(choices)
        return fake(choices)

    found = search(model, tmp_path / "cut", trials=8, evaluate=counted, strategy=strategy)
    assert found == whole
    assert len(calls) == 8


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


def test_what_two_searches_propose_is_trained_once(model, tmp_path):
    scored = []

    def counted(choices):
        scored.extend(choices)
        return fake(choices)

    store = opened(tmp_path)
    for strategy in STRATEGIES:
        explore(store, counted, SPACE, trials=8, seed=0, strategy=strategy)
    assert len(scored) == len({json.dumps(one) for one in scored}) <= SPACE.size


def test_a_file_of_trials_that_is_none_is_named(tmp_path):
    (tmp_path / "search.sqlite3").write_text("not a database, for as long as it takes " * 99)
    with pytest.raises(RuntimeError, match=r"search\.sqlite3 holds no trials .* delete it"):
        opened(tmp_path)


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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_trials_than_candidates_try_each_once(strategy, model, tmp_path):
    found = search(model, tmp_path, trials=50, evaluate=fake, strategy=strategy)
    assert sorted((one["choice"]["depth"], one["choice"]["width"]) for one in found) == [
        (depth, width) for depth in (1, 2) for width in (2, 4, 6, 8, 12)
    ]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_the_smallest_and_the_largest_of_a_space_take_the_models_input(name):
    model, space = zoo.get(name), SPACES[name]
    choices = list(space.every())
    args, kwargs = model.example(2)
    whole = sum(one.numel() for one in model.build().parameters())
    scaled = space.scaled_down()
    assert 3 < len(scaled) < 10
    for choice in (choices[0], choices[-1], scaled[-1]):
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
        (lambda n: n["search"]["beside"]["chance"]["trials"].pop(), "chance had fewer trials"),
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


def test_an_unknown_strategy_is_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="found 'luck'"):
        search(model, tmp_path, strategy="luck", evaluate=fake)
