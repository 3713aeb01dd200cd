"""A sample of the planted faults; tests/proof_faults.py plants them all."""

from __future__ import annotations

import pytest
from faults import caches
from faults.table import FAULTS
from proof_faults import plugins, run

from suites import catalog

UNTIMED = [
    "scaled_layer",
    "looks_quantised",
    "unused_runtime",
    "one_nan",
    "wrong_at_1",
    "kept_state",
    "other_shape",
    "killed_examine",
    "side_file",
    "sees_evaluation",
]
TIMED = ["detects_timing", "more_threads"]
SEED = 7


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    found = run(SEED, UNTIMED + TIMED, folder, times=False)
    return {one["fault"]: one for one in found}


@pytest.mark.parametrize("name", UNTIMED + TIMED)
def test_a_planted_fault_is_named_and_the_same_without_it_passes(told, name):
    assert told[name]["off"]["status"] == "PASS", told[name]
    assert told[name]["on"]["status"] != "PASS", told[name]
    assert told[name]["caught"], told[name]


def test_every_planted_technique_is_in_the_table_and_every_name_is_one_fault():
    planted = {
        name
        for name, one in catalog.read(plugins()).techniques.items()
        if one.attributes["family"] == "planted"
    }
    assert {one.technique for one in FAULTS} == planted
    names = [one.name for one in FAULTS] + list(caches.FAULTS)
    assert len(names) == len(set(names)) >= 40


def test_a_name_that_is_no_fault_s_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no fault is called 'scaled_layers'"):
        run(0, ["scaled_layers"], tmp_path)
