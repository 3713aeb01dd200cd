"""Steps and creeps in a series of runs: found where they are planted, seldom where they are not."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from reports.history import steps


def series(rng: random.Random, *parts: tuple[int, float], noise: float = 0.006) -> list[float]:
    """Log-ratios: so many runs at each level."""
    return [math.log(level) + rng.gauss(0, noise) for count, level in parts for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_step_is_found_with_its_place_and_size(seed):
    (found,) = steps.steps(series(random.Random(seed), (20, 4.0), (15, 3.8)))
    assert abs(found.at - 20) <= 1
    assert found.ratio == pytest.approx(0.95, abs=0.01)
    assert found.p <= steps.SIGNIFICANT


def test_two_steps_are_two():
    found = steps.steps(series(random.Random(1), (15, 4.0), (15, 3.6), (15, 4.2)))
    assert [one.ratio > 1 for one in found] == [False, True]


def normal(rng: random.Random) -> float:
    return rng.gauss(0, 0.006)


def contaminated(rng: random.Random) -> float:
    return rng.gauss(0, 0.003 if rng.random() < 0.95 else 0.03)


@pytest.mark.parametrize("shape", [normal, contaminated])
def test_noise_alone_seldom_is_a_step(shape):
    rng = random.Random(7)
    trials = 100
    alarms = sum(bool(steps.steps([shape(rng) for _ in range(30)])) for _ in range(trials))
    assert alarms <= 4


def test_a_slow_creep_is_seen_though_no_night_is():
    rng = random.Random(3)
    logs = [-0.002 * night + rng.gauss(0, 0.005) for night in range(30)]
    assert all(abs(a - b) < math.log(1 / 0.97) for a, b in itertools.pairwise(logs))
    found = steps.creep(logs)
    assert found is not None
    assert found.ratio < 0.97
    assert found.p <= steps.CREEPING
    assert found.best < 15
    assert found.runs < 20


def test_a_gain_is_no_creep():
    found = steps.creep(series(random.Random(2), (15, 4.0), (15, 4.4)))
    assert found is not None
    assert found.ratio > 1


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_short_history_says_nothing(count):
    logs = [0.0, -1.0, -2.0][:count]
    assert steps.creep(logs) is None
    assert steps.steps(logs) == []


def test_a_history_without_any_noise_has_no_steps_but_real_ones():
    assert steps.steps([1.0] * 20) == []
    (found,) = steps.steps([1.0] * 10 + [0.9] * 10)
    assert found.at == 10
