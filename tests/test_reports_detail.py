"""The small print: what techniques note of themselves, told in words."""

from __future__ import annotations

import pytest

from reports.cells import Cell
from reports.detail import details


def cell(**evidence: object) -> Cell:
    common = {"cell": {}, "id": "m-t-cpu", "class": "A", "batch": None, "status": "PASS"}
    return Cell("m", "t", "cpu", [{**common, "gate": "evidence", "evidence": evidence}])


def told(title: str, one: Cell) -> list[str]:
    return dict(details(one)).get(title, [])


@pytest.fixture
def notes() -> dict[str, object]:
    return {
        "sensitivity": {"first": 40.0, "stem": 18.76, "odd": None},
        "kept": ["stem"],
        "sqnr": {"all_int8": 17.57, "kept": 26.49},
    }


def test_layers_that_do_most_damage_come_first(notes):
    lines = told("Layers in int8", cell(stages=[{"technique": "t", "notes": notes}]))
    assert lines == [
        "worst of 2, each alone in int8: stem 18.8 dB, first 40.0 dB",
        "left in FP32: 1",
        "all in int8 17.6 dB, as it is 26.5 dB",
    ]


@pytest.mark.parametrize("notes", [None, {}, {"sensitivity": 3}, {"sensitivity": {"a": "x"}}])
def test_notes_of_another_shape_are_left_out(notes):
    assert told("Layers in int8", cell(stages=[{"technique": "t", "notes": notes}])) == []


def test_layers_that_add_noise_are_told_with_both_levels():
    notes = {"noise": {"head": [38.0, 4.73], "odd": [None, 3.0], "torn": 4}}
    assert told("Layers in int8", cell(stages=[{"technique": "t", "notes": notes}])) == [
        "t adds most noise in: head (38.0 dB before it, 4.7 dB after it)"
    ]


def test_opening_is_told_beside_the_stages():
    lines = told("Stages", cell(stages=[], open_seconds=1.5, first_answer_seconds=0.25))
    assert len(lines) == 1
    assert lines[0].startswith("opens in 1.5")


def test_a_drop_beyond_chance_is_told_though_it_passes():
    common = {"cell": {}, "id": "m-t-cpu", "class": "A", "batch": None, "status": "PASS"}
    for p, expected in ((0.001, True), (0.2, False)):
        one = Cell("m", "t", "cpu", [{**common, "gate": "accuracy", "evidence": {"mcnemar_p": p}}])
        assert any("McNemar" in line for line in told("Accuracy", one)) is expected
