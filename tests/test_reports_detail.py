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


def timed(**changes: object) -> Cell:
    singles = {
        "n": 120,
        "p50": {"value": 1e-3, "high": 1.1e-3, "reason": None},
        "p90": {"value": 2e-3, "high": 2.2e-3, "reason": None},
        "p99": {"value": None, "high": None, "reason": "needs n ≥ 299, has 120"},
    }
    evidence = {
        "processes": [0.1, 0.2],
        "sigma": 0.01,
        "steady": False,
        "trend": -0.052,
        "threads": 1,
        "cpus": "0-1",
        "cache": {"mode": "cold"},
        "outliers": {"baseline": 3, "candidate": 0},
        "energy": {"source": None, "reason": "no counter"},
        "machine": [
            {"steal": 0.01, "others": 0.5, "load": 1.0, "involuntary_switches": 2, "device": None},
            {"steal": 0.02, "load": 2.5, "involuntary_switches": 3},
            {"device": {"throttle": ["sw_power_cap"]}},
        ],
    } | changes
    return Cell(
        "m",
        "t",
        "cpu",
        [
            {
                **{"cell": {}, "id": "m-t-cpu", "class": "A", "batch": 1, "status": "PASS"},
                **{"gate": "speed", "evidence": evidence},
                "baseline": {"latency": singles, "joules": 2.0},
                "candidate": {"latency": singles, "joules": None},
            }
        ],
    )


def test_speed_tells_what_it_rests_on():
    lines = told("Speed", timed())
    assert "2 processes" in lines[0]
    for part in ("SD between them 1.00", "drift of the ratio within one -5.2 % (not steady)"):
        assert part in lines[0]
    assert "1 thread on CPU 0-1, caches emptied before every call" in lines[0]
    for line, arm in ((lines[1], "FP32"), (lines[2], "optimised")):
        assert line.startswith(f"batch 1: {arm}, 120 single calls: p50 1")
        assert "p99 not available (needs n ≥ 299, has 120)" in line
    assert lines[3] == "batch 1: energy not measured: no counter"
    for part in ("segments far out 3 and 0", "load 1.0 to 2.5", "5 involuntary switches"):
        assert part in lines[4]
    assert "throttled by sw_power_cap" in lines[4]


def test_a_process_that_was_measured_again_is_told_with_the_reason():
    assert "batch 1: one process was measured again: the clock jumped" in told(
        "Speed", timed(repeated="the clock jumped")
    )


@pytest.mark.parametrize("odd", [None, 3, "x", [1], {"baseline": "x"}])
def test_speed_evidence_of_another_shape_is_left_out(odd):
    names = ("machine", "outliers", "energy", "cache", "trend", "threads", "sigma")
    assert told("Speed", timed(**dict.fromkeys(names, odd)))
    assert told("Speed", timed(processes=odd)) == [] or odd == [1]


def accuracy(**evidence: object) -> list[str]:
    common = {"cell": {}, "id": "m-t-cpu", "class": "A", "batch": None, "status": "PASS"}
    return told(
        "Accuracy", Cell("m", "t", "cpu", [{**common, "gate": "accuracy", "evidence": evidence}])
    )


def test_the_smallest_limit_that_the_samples_decide_is_told():
    assert any("samples decide: 0.47" in line for line in accuracy(smallest_drop=0.0047))


def test_the_worst_class_is_told_with_its_interval_or_why_it_has_none():
    worst = {"label": 8, "drop": 0.25, "n": 40, "low": 0.08, "high": 0.51, "note": None}
    line = "".join(accuracy(worst_class=worst))
    assert "worst class: 8, drop 25.00" in line
    assert "40 samples [8.00, 51.00]" in line
    few = {**worst, "low": None, "high": None, "note": "too few samples for an interval: 9 of 30"}
    assert "".join(accuracy(worst_class=few)).endswith("interval: 9 of 30)")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"agrees": True, "difference": 2e-6, "batch": 32, "samples": 16}, "as rounding does"),
        (
            {"agrees": False, "difference": 0.2, "changed": 3, "batch": 32, "samples": 16},
            "ANSWERS DEPEND ON THE BATCH: a sample alone instead of in a batch of 32: "
            "differs by 2.0e−1, and 3 of 16 score differently",
        ),
        ({"agrees": False, "difference": None, "batch": 32, "samples": 16}, "NaN in one"),
        ({"agrees": None, "note": "takes batches of 1 only"}, "takes batches of 1 only"),
    ],
)
def test_answers_that_depend_on_the_batch_are_told(found, said):
    assert any(said in line for line in accuracy(batch_invariance=found))


def test_subnormal_weights_are_told():
    found = {"count": 12345, "of": 100_000, "share": 0.12345, "note": None}
    assert any(
        "subnormal weights: 12,345 of 100000" in line and "slowly" in line
        for line in accuracy(subnormal_weights=found)
    )
    none = {"count": None, "of": None, "share": None, "note": "its weights cannot be read"}
    assert any("cannot be read" in line for line in accuracy(subnormal_weights=none))


@pytest.mark.parametrize("odd", [3, [], {"count": "x"}, {"drop": "x"}, {"agrees": "x"}])
def test_evidence_of_another_shape_breaks_nothing(odd):
    accuracy(worst_class=odd, batch_invariance=odd, subnormal_weights=odd)
