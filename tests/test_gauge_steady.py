"""Steadiness: false alarms by simulation, drift that is found, harmless trends that are let be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gauge import steady
from gauge.steady import HARMLESS, drift, judge, warming

VERDICTS = 600


def blocks(kind, processes, count, sigma, seed, trend=0.0):
    """Log-ratios of blocks, [verdicts][processes][count], with a line from 0 to trend on them."""
    rng = np.random.default_rng(seed)
    shape = (VERDICTS, processes, count)
    noise = rng.standard_t(2, shape) if kind == "heavy" else rng.standard_normal(shape)
    if kind == "autocorrelated":
        for index in range(1, count):
            noise[..., index] = 0.4 * noise[..., index - 1] + 0.84**0.5 * noise[..., index]
    return (sigma * noise + trend * np.linspace(0, 1, count)).tolist()


def alarms(*args, **options):
    return sum(judge(verdict).steady is False for verdict in blocks(*args, **options))


@pytest.mark.parametrize("kind", ["independent", "autocorrelated", "heavy"])
@pytest.mark.parametrize(("processes", "count"), [(2, 6), (2, 15), (6, 12)])
def test_noise_without_a_trend_is_steady(kind, processes, count):
    # At most 0.2 %: more than 6 of 600 would have a chance of 0.02 %.
    assert alarms(kind, processes, count, 0.03, seed=count) <= 6


@pytest.mark.parametrize("trend", [0.003, -0.003])
def test_a_harmless_trend_does_not_count_however_clear_it_is(trend):
    assert alarms("independent", 12, 15, 0.001, seed=3, trend=trend) == 0


@pytest.mark.parametrize(
    ("trend", "processes", "count", "sigma", "share"),
    [
        (-0.10, 2, 12, 0.01, 0.99),
        (0.10, 2, 12, 0.01, 0.99),
        (-0.05, 3, 15, 0.01, 0.99),
        (-0.03, 6, 15, 0.01, 0.85),
        (-0.10, 4, 15, 0.03, 0.95),
    ],
)
def test_a_real_drift_of_the_ratio_is_found(trend, processes, count, sigma, share):
    found = alarms("independent", processes, count, sigma, seed=5, trend=trend)
    assert found >= share * VERDICTS


def test_the_variance_without_correlation_is_kendalls(monkeypatch):
    monkeypatch.setattr(steady, "_CORRELATION", 1e-12)
    plain = steady._variance.__wrapped__
    for count in (4, 6, 15):
        assert plain(count) == pytest.approx(count * (count - 1) * (2 * count + 5) / 18)


def test_the_variance_is_that_of_autocorrelated_noise():
    rows = np.array(blocks("autocorrelated", 40, 10, 1.0, seed=9)).reshape(-1, 10)
    simulated = np.var([steady._kendall(row.tolist(), 0.0) for row in rows[:20_000]])
    assert steady._variance(10) == pytest.approx(simulated, rel=0.05)


def test_a_slowing_candidate_is_told_with_size_and_advice():
    processes = [[-0.04 * index / 9 + 0.001 * (index % 2) for index in range(10)]] * 3
    found = judge(processes)
    assert found.steady is False
    assert found.drift == pytest.approx(-0.04, abs=0.002)
    assert found.z < -2.6
    assert found.reason().startswith("not steady: the candidate gets slower against the other side")
    assert "4.1 % from the first to the last block of a process (3 processes)" in found.reason()
    assert "measure again" in found.reason()
    backwards = judge([blocks[::-1] for blocks in processes])
    assert (backwards.steady, backwards.z) == (False, pytest.approx(-found.z))
    assert "the baseline gets slower" in backwards.reason()


def test_both_arms_slowing_alike_leave_the_ratio_alone():
    # Times double, the ratio of both does not move.
    times = [1.0 + index / 10 for index in range(11)]
    ratios = [math.log(one / (1.001 * one)) for one in times]
    assert judge([ratios, ratios]).steady is True


def test_too_few_blocks_say_nothing():
    for processes in ([], [[]], [[0.1, 0.2, 0.3]]):
        found = judge(processes)
        assert (found.steady, found.drift, found.z, found.reason()) == (None, None, None, None)
    assert judge([[0.0] * 3, [0.0] * 6]).processes == 1


def test_equal_blocks_are_steady():
    found = judge([[0.5] * 10] * 4)
    assert (found.steady, found.drift, found.z) == (True, 0.0, 0.0)


def test_the_drift_is_theil_and_sens():
    line = [HARMLESS * index for index in range(8)]
    assert drift(line) == pytest.approx(0.07)
    assert drift([*line[:3], 5.0, *line[4:]]) == pytest.approx(0.07, rel=0.3)
    assert drift([]) == drift([1.0]) == 0.0


def test_a_warm_up_goes_on_while_times_move_more_than_noise():
    noise = [0.1, -0.1, 0.12, -0.09, 0.1, -0.11, 0.09, -0.1]
    assert not warming(noise)
    assert warming([0.03 * index + 0.001 * value for index, value in enumerate(noise)])
    assert not warming([])
    assert not warming([0.0, 1.0, 2.0])
