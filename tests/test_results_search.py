"""The comparison of searches with chance: the area that a front reaches, and the table."""

from __future__ import annotations

import pytest
from results_search import ARMS, hypervolume, measure, table
from safetensors.torch import save_file

import zoo
from optimizers.finetune import digest


def test_the_hypervolume_is_the_area_that_some_trial_reaches():
    one = {"right": 0.8, "macs": 50}
    assert hypervolume([one], 100) == pytest.approx(0.4)
    assert hypervolume([one, {"right": 0.7, "macs": 60}], 100) == pytest.approx(0.4)
    assert hypervolume([one, {"right": 0.5, "macs": 20}], 100) == pytest.approx(0.4 + 0.15)
    assert hypervolume([one, {"right": 0.9, "macs": 90}], 100) == pytest.approx(0.4 + 0.01)
    assert hypervolume([{"right": 1.0, "macs": 200}], 100) == 0


def row(seed, right, **changes):
    """right: of evolution, of the controller and of chance."""
    arms = {
        name: {"evaluation": one, "hypervolume": one / 2, "macs": 1e6, "bytes": 5e4}
        for name, one in zip(ARMS, right, strict=True)
    }
    common = {"model": "lstm", "seed": seed, "trials": 20, "budget": {}, "baseline": 0.97}
    hand = {"scaled down": {"evaluation": 0.9, "macs": 5e5, "bytes": 1e4}}
    return {**common, **arms, **hand, **changes}


def test_the_table_tells_the_gain_with_its_interval_over_seeds():
    lines = table([row(seed, (0.95 + 0.001 * seed, 0.92, 0.94)) for seed in range(3)])
    assert lines[2] == (
        "| lstm | none | 20 | 3 | 97.00 % | 95.10 %, 0.050 MB, 1.00 M products | "
        "92.00 %, 0.050 MB, 1.00 M products | 94.00 %, 0.050 MB, 1.00 M products | "
        "90.00 %, 0.010 MB, 0.50 M products | none |"
    )
    assert lines[-2] == (
        "| lstm | evolution | 20 | 3 | +1.10 [+0.85, +1.35] | +0.0055 [+0.0043, +0.0067] |"
    )
    assert "| -2.00 [-2.00, -2.00], a loss |" in lines[-1]
    assert all(line.count("|") == lines[0].count("|") for line in lines[:3])


def test_no_gain_is_told_as_none():
    rows = [row(seed, (right, 0.94, 0.94)) for seed, right in enumerate((0.93, 0.94, 0.96))]
    assert "not told from zero" in table(rows)[-2]
    assert "an interval needs 3 seeds" in table(rows[:2])[-2]


def test_other_budgets_are_rows_of_their_own():
    rows = [row(0, (0.9, 0.9, 0.9)), row(0, (0.9, 0.9, 0.9), budget={"size_mb": 0.1})]
    assert [line.split(" | ")[1] for line in table(rows)[2:4]] == ["none", "0.1 MB"]


class Search(Exception):
    """Raised where a search would begin."""


def test_a_seed_that_is_done_with_the_same_weights_is_not_searched_again(tmp_path, monkeypatch):
    def begin(*_):
        raise Search

    monkeypatch.setattr("optimizers.search.searched", begin)
    weights, module = tmp_path / "weights.safetensors", zoo.get("digits_mlp").build()
    save_file(module.state_dict(), weights)
    known = {"model": "digits_mlp", "trials": 20, "budget": {}, "of": digest(module), "seed": 0}
    known["rule"] = "one standard error"

    def first(**changes):
        rows = measure("digits_mlp", weights, [0], 20, tmp_path, {}, [{**known, **changes}])
        return next(rows)

    assert first(left="as it was")["left"] == "as it was"
    for other in (
        {"of": "0"},
        {"seed": 1},
        {"trials": 8},
        {"rule": "the best"},
        {"budget": {"size_mb": 1.0}},
    ):
        with pytest.raises(Search):
            first(**other)
