"""How near the batching policy that was found comes to the best: what is told of the grid."""

from __future__ import annotations

import pytest
from results_serving import LEADERS, leaders, share, table

from gauge.serving.batching import Policy
from gauge.serving.search import Point


def row(*again, **changes):
    """again: (largest batch, wait in ms, rates), the policy that was found first."""
    points = [
        {"largest_batch": size, "wait_ms": wait, "rates": list(rates)}
        for size, wait, rates in again
    ]
    grid = [{"largest_batch": size, "wait_ms": 0.0, "probes": 10} for size in (1, 2, 4)]
    told = {"model": "digits_mlp", "technique": "none", "deadline_ms": 5.0, "grid": grid}
    told |= {"probes": 12, "seconds": 6.0, "grid_seconds": 15.0, "machine": {"others": 0.031}}
    told |= {"day": "2026-11-25", "own_cpu": False}
    return {**told, "again": points, **changes}


def test_a_policy_that_is_beaten_is_told_by_the_share_of_medians():
    one = row((8, 0.0, (90, 100, 50)), (16, 1.0, (100, 200, 96)))
    assert share(one) == pytest.approx(0.9)
    assert table([one])[2] == (
        "| digits_mlp | `none` | 5 ms | batch 8, no wait: 90 a second [50, 100] | "
        "batch 16, 1 ms: 100 a second [96, 200] | 90.0%: MISSED | "
        "12 probes, 6 s of 30, 15 s | 3 | "
        "2026-11-25; LoadGen shares the server's CPU; other programs: 3% of a CPU |"
    )


def test_the_best_policy_is_the_whole_of_itself():
    one = row(
        (8, 0.0, (100, 101, 102)), (16, 1.0, (99, 300, 98)), machine={"others": None}, own_cpu=True
    )
    assert share(one) == 1
    assert "| it; then batch 16, 1 ms: 99 a second [98, 300] | 100.0%: reached |" in table([one])[2]
    assert table([one])[2].endswith("LoadGen has a CPU of its own; other programs: not told |")


def test_the_leaders_are_the_grid_s_best_beside_the_one_found():
    rates = {1: 10.0, 2: 40.0, 4: None, 8: 30.0, 16: 20.0}
    grid = [Point(Policy(size), rate, 0.001) for size, rate in rates.items()]
    assert [one.policy.largest for one in leaders(grid, grid[1])] == [8, 16]
    assert LEADERS == 2
