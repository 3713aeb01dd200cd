"""The comparison of evolution with chance: the area that a front reaches, and the table."""

from __future__ import annotations

import pytest
from results_search import hypervolume, table


def test_the_hypervolume_is_the_area_that_some_trial_reaches():
    one = {"right": 0.8, "macs": 50}
    assert hypervolume([one], 100) == pytest.approx(0.4)
    assert hypervolume([one, {"right": 0.7, "macs": 60}], 100) == pytest.approx(0.4)
    assert hypervolume([one, {"right": 0.5, "macs": 20}], 100) == pytest.approx(0.4 + 0.15)
    assert hypervolume([one, {"right": 0.9, "macs": 90}], 100) == pytest.approx(0.4 + 0.01)
    assert hypervolume([{"right": 1.0, "macs": 200}], 100) == 0


def row(seed, evolution, chance):
    arms = {
        name: {"evaluation": right, "hypervolume": right / 2, "macs": 1000}
        for name, right in (("evolution", evolution), ("chance", chance))
    }
    common = {"model": "lstm", "seed": seed, "trials": 20, "budget": {}, "baseline": 0.97}
    return {**common, **arms, "student": {"evaluation": 0.9, "macs": 500}}


def test_the_table_tells_the_gain_with_its_interval_over_seeds():
    rows = [row(seed, 0.95 + 0.001 * seed, 0.94) for seed in range(3)]
    (line,) = table(rows)[2:]
    assert line.startswith(
        "| lstm | 20 | 3 | 97.00 % | 95.10 %, 1,000 MACs | 94.00 %, 1,000 MACs |"
    )
    assert "| 90.00 %, 500 MACs | +1.10 [+0.85, +1.35] | +0.0055 [+0.0043, +0.0067] |" in line


def test_no_gain_is_told_as_none():
    rows = [row(seed, right, 0.94) for seed, right in enumerate((0.93, 0.94, 0.96))]
    assert "not told from zero" in table(rows)[-1]
    assert "an interval needs 3 seeds" in table(rows[:2])[-1]
