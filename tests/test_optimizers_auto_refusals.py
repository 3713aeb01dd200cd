"""auto: energy, what it refuses, and how layers bear 8 bits."""

from __future__ import annotations

import auto_subjects
import optimizers_models
import pytest
from auto_subjects import BLOCKS, Deep, by_name, searched
from optimizers_models import target

import optimizers
from gauge import energy
from optimizers import Context, Refused, auto_bench


@pytest.fixture
def model(monkeypatch):
    return auto_subjects.ready(monkeypatch)


def test_energy_is_refused_with_the_reason_where_no_counter_tells(model, tmp_path, monkeypatch):
    monkeypatch.setattr(
        optimizers_models.target().__class__, "energy_meter", lambda self: energy.none("no counter")
    )
    with pytest.raises(Refused, match="energy of a call cannot be read here: no counter"):
        searched(model, tmp_path, optimise_for="energy")


def test_energy_is_read_from_the_targets_counter(model, tmp_path, monkeypatch):
    import time

    meter = energy.Meter("test", lambda: 5 * time.perf_counter(), interval_s=1e-4)
    monkeypatch.setattr(optimizers_models.target().__class__, "energy_meter", lambda self: meter)
    monkeypatch.setattr(auto_bench, "JOULES", 2e-3)
    _, notes, found = searched(model, tmp_path, optimise_for="energy", trials="2")
    assert [one["technique"] for one in found] == ["b_fastest"]
    assert by_name(notes)["b_fastest"]["joules"] < by_name(notes)["a_first"]["joules"]


def test_no_trials_and_no_goal_are_errors(model, tmp_path):
    for wrong in ("0", "-1", "some"):
        with pytest.raises(ValueError, match=f"a whole number from 1 up, found {wrong}"):
            searched(model, tmp_path, trials=wrong)
    own = Context(model, target(), {"trials": "1"}, seed=0, workdir=tmp_path)
    with pytest.raises(ValueError, match="given no goal"):
        optimizers.get("auto").apply(Deep().eval(), own)


def test_layers_are_told_by_how_they_bear_8_bits(model, tmp_path):
    notes = searched(model, tmp_path, trials="2")[1]
    assert len(notes["sensitivity"]) == BLOCKS + 1
    assert next(iter(notes["sensitivity"])) == "head"
