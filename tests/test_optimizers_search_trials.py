"""Trials of a search: what a seed decides, what proposals learn, scoring, and going on."""

from __future__ import annotations

import concurrent.futures
import copy
import json
import math
import multiprocessing
import os

import pytest
import torch
from optimizers_models import known
from search_models import (
    SPACE,
    Cut,
    Searched,
    context,
    fake,
    made,
    module,
    narrow,
    opened,
    record,
    search,
    timeless,
    tiny,
)

from optimizers.search_controller import Controller, reward
from optimizers.search_evaluator import Budget, Evaluator
from optimizers.search_parallel import side_by_side
from optimizers.search_space import SPACES, Space
from optimizers.search_trials import CHANCE, EVOLUTION, REINFORCE, STRATEGIES, explore
from optimizers.statistics import renew


@pytest.fixture
def model(monkeypatch):
    return searched(monkeypatch)


def searched(monkeypatch):
    monkeypatch.setattr("optimizers.search_cost.SEGMENT", 2e-4)  # No time is looked at here.
    monkeypatch.setitem(SPACES, "test_searched", SPACE)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # In this process, to look at.
    return known(Searched(), monkeypatch)


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


def test_several_threads_train_candidates_side_by_side_with_the_same_outcome(tmp_path):
    # In a process of its own, as a worker is: autograd does not survive a fork of one in which
    # other tests have made it start threads.
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fresh) as pool:
        assert pool.submit(trained_side_by_side, tmp_path).result() == [2, 1]


def trained_side_by_side(folder):
    """How many candidates were trained at once, each time; what they gave is looked at here."""
    choices, together = list(SPACE.every())[:3], []

    def counted(function, items):
        together.append(len(items))
        return side_by_side(function, items)

    with pytest.MonkeyPatch.context() as monkeypatch:
        evaluate = Evaluator(context(searched(monkeypatch), folder), SPACE, module())
        alone = list(evaluate(choices))
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        monkeypatch.setattr("optimizers.search_evaluator.side_by_side", counted)
        assert timeless(evaluate(choices)) == timeless(alone)
    return together


def test_what_runs_side_by_side_has_one_thread_each():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert side_by_side(lambda _: torch.get_num_threads(), [0, 1]) == [1, 1]
    finally:
        torch.set_num_threads(before)


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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_trials_than_candidates_try_each_once(strategy, model, tmp_path):
    found = search(model, tmp_path, trials=50, evaluate=fake, strategy=strategy)
    assert sorted((one["choice"]["depth"], one["choice"]["width"]) for one in found) == [
        (depth, width) for depth in (1, 2) for width in (2, 4, 6, 8, 12)
    ]


@pytest.mark.parametrize("strategy", [REINFORCE, CHANCE])
def test_one_that_proposes_the_same_again_and_again_gets_untried_ones(
    strategy, model, tmp_path, monkeypatch
):
    same = {"depth": 1, "width": 4}
    monkeypatch.setattr(STRATEGIES[strategy], "draw", lambda self: same)
    found = search(model, tmp_path, trials=3, evaluate=fake, strategy=strategy)
    assert found[0]["choice"] == same
    assert len({json.dumps(one["choice"]) for one in found}) == 3


def test_an_unknown_strategy_is_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="found 'luck'"):
        search(model, tmp_path, strategy="luck", evaluate=fake)
