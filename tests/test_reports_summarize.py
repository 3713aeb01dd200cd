"""A run's records add up to one verdict on a release, and to the cells worth taking."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reports_fixtures import Record, cell, lost_cell, run_record, verdict

from gauge.verdict import GATES, Status, severity
from reports import cells, picks, schema
from reports.records import Records
from reports.summarize import Summary, summarize


def _sum(verdicts: list[Record], problems: list[str] | None = None, **run: Any) -> Summary:
    run.setdefault("selected_cells", None)
    return summarize(Records(run_record(**run), verdicts, problems or []))


def _with(gate: str, **fields: Any) -> list[Record]:
    """A cell that passes but for one gate."""
    records = cell("resnet18", "onnxruntime")
    changed = next(record for record in records if record["gate"] == gate)
    changed.update(fields)
    return records


def test_statuses_and_gates_are_those_of_the_gauge_in_the_same_order() -> None:
    assert sorted(schema.choices("status")) == sorted(Status)
    assert list(cells.SEVERITY) == sorted(cells.SEVERITY, key=severity)
    assert schema.choices("gate") == GATES


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("PASS", "SHIP"),
        ("WAIVED", "SHIP"),
        ("NO_EXPECTATION", "SHIP"),
        ("REFUSED", "SHIP"),
        ("INCONCLUSIVE", "INCONCLUSIVE"),
        ("NO_BASELINE", "INCONCLUSIVE"),
        ("FAIL", "HOLD"),
        ("ERROR", "HOLD"),
    ],
)
def test_one_gate_decides_the_release(status: str, expected: str) -> None:
    assert _sum(_with("memory", status=status, reason="because")).verdict == expected


def test_what_has_no_baseline_yet_is_told_apart_from_what_is_undecided() -> None:
    undecided = _with("memory", status="INCONCLUSIVE", reason="because")
    bare = [{**one, "id": "other", "status": "NO_BASELINE"} for one in _with("speed")]
    sentence = _sum([*undecided, *bare[:2]]).sentence
    assert "1 gate could not be decided" in sentence
    assert "2 gates had no baseline to compare with" in sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"complete": False}, "did not finish"),
        ({"complete": False, "interrupted": "Ctrl-C"}, "interrupted (Ctrl-C)"),
        ({"complete": True, "interrupted": "Ctrl-C"}, "interrupted (Ctrl-C)"),
        ({"selected_cells": 3}, "2 of 3 cells were not reached"),
        ({"contaminated": True}, "A/A comparison is contaminated"),
        ({"problems": ["records.jsonl:4: cut off"]}, "1 problem in the record file"),
    ],
)
def test_a_run_that_cannot_be_trusted_never_ships(changes: dict, said: str) -> None:
    passing = cell("resnet18", "onnxruntime")
    found = _sum(passing, **changes)
    assert found.verdict == "INCONCLUSIVE"
    assert said in found.sentence
    failing = _sum(_with("size", status="FAIL", value=2.0), **changes)
    assert failing.verdict == "HOLD"
    assert said in failing.sentence


def test_nothing_measured_never_ships() -> None:
    empty = _sum([])
    assert (empty.verdict, empty.counts, empty.picks) == ("INCONCLUSIVE", {}, ())
    assert "nothing was measured" in empty.sentence
    refused = _sum(lost_cell("m", "t", "REFUSED", "no convolution"))
    assert refused.verdict == "INCONCLUSIVE"
    assert "nothing was measured" in refused.sentence
    unlimited = [{**verdict("m", "t", "speed", 1), "status": "NO_EXPECTATION", "value": None}]
    assert _sum(unlimited).verdict == "INCONCLUSIVE"
    crashed = _sum(lost_cell("m", "t", "ERROR", "signal 11"))
    assert crashed.verdict == "HOLD"
    assert "nothing was measured" in crashed.sentence


def test_the_sentence_counts_and_names_what_decides() -> None:
    verdicts = _with("speed", status="FAIL", value=0.9, low=0.89, high=0.91)
    verdicts += cell("vit", "onnxruntime")
    sentence = _sum(verdicts).sentence
    assert sentence.startswith("1 of 18 gates fails, in 1 of 2 cells; worst is ")
    assert "resnet18 · onnxruntime · cpu: speed b1 0.90×, asked ≥\u202f1.00×" in sentence


def test_wrong_answers_come_first_then_crashes_then_cost_each_by_how_far_it_missed() -> None:
    limit = {"max": 0.01}
    verdicts = [
        verdict("a", "t", "speed", 1, status="FAIL", value=0.5, limit={"min": 1.0}),
        verdict("b", "t", "size", status="FAIL", value=4.0, limit={"max": 1.0}),
        *lost_cell("c", "t", "ERROR", "signal 9"),
        verdict("d", "t", "accuracy", status="FAIL", value=0.02, limit=limit),
        verdict("e", "t", "accuracy", status="FAIL", value=0.40, limit=limit),
        verdict("f", "t", "accuracy", status="FAIL", value=None, limit=limit, reason="nan"),
    ]
    found = _sum(verdicts).failing
    assert [line.cell.model for line in found] == ["f", "e", "d", "c", "b", "a"]
    crash = found[3]
    assert (crash.gates, crash.limit, len(crash.verdicts)) == ("every gate", "each its own", 9)


def test_a_cell_has_the_status_of_its_worst_gate() -> None:
    found = _sum(_with("reload", status="WAIVED", reason="known") + cell("vit", "none"))
    assert [one.status for one in found.cells] == ["WAIVED", "PASS"]
    assert found.cell_counts == {"WAIVED": 1, "PASS": 1}


def _pick(verdicts: list[Record], class_: str = "A", target: str = "cpu") -> picks.Pick:
    found = _sum(verdicts).picks
    (pick,) = [pick for pick in found if (pick.class_, pick.target) == (class_, target)]
    return pick


def test_the_fastest_cell_that_keeps_the_accuracy_is_recommended() -> None:
    wrong = cell("m", "pruned", speed=9.0, drop=0.2)
    undone = cell("m", "dynamic_int8", speed=8.0)
    undone[0].update(status="FAIL", value=0.0)
    undecided = cell("m", "close", speed=7.0)
    undecided[2].update(status="INCONCLUSIVE")
    ungated = cell("m", "ungated", speed=6.0)
    ungated[2].update(status="NO_EXPECTATION")
    good = cell("m", "int8", speed=3.0)
    pick = _pick([*wrong, *undone, *undecided, *ungated, *cell("m", "ort", speed=2.0), *good])
    assert pick.cell is not None
    assert pick.cell.technique == "int8"
    assert pick.pays
    assert dict(pick.instead) == {
        "accuracy fails": 1, "evidence fails": 1, "accuracy undecided": 1,
        "accuracy without a limit": 1,
    }  # fmt: skip


def test_a_waived_cell_is_named_apart_and_only_when_it_is_faster() -> None:
    waived = cell("m", "waived", speed=9.0)
    waived[2].update(status="WAIVED", reason="until May")
    pick = _pick([*waived, *cell("m", "int8", speed=3.0)])
    assert (pick.cell.technique, pick.waived.technique) == ("int8", "waived")  # type: ignore[union-attr]
    slower = _pick([*cell("m", "int8", speed=30.0), *waived])
    assert slower.waived is None
    alone = _pick(waived)
    assert (alone.cell, alone.waived and alone.waived.technique) == (None, "waived")


def test_classes_models_and_targets_are_never_mixed() -> None:
    found = _sum(
        [
            *cell("m", "int8", speed=3.0),
            *cell("m", "student", cls="C", speed=40.0),
            *cell("m", "none", target="bf16_cpu", speed=1.5),
            *cell("other", "int8", speed=2.0),
        ]
    ).picks
    assert {(p.model, p.target, p.class_, p.cell.technique) for p in found if p.cell} == {
        ("m", "cpu", "A", "int8"),
        ("m", "cpu", "C", "student"),
        ("m", "bf16_cpu", "A", "none"),
        ("other", "cpu", "A", "int8"),
    }


def test_speed_is_told_against_the_best_lossless_fp32_of_the_device() -> None:
    verdicts = [
        *cell("m", "none", speed=1.0, lossless=True),
        *cell("m", "ort", speed=3.0, lossless=True, spread=0.03),
        *cell("m", "int8", speed=6.0, spread=0.04),
        *cell("m", "none", target="bf16_cpu", speed=1.5, lossless=True),
    ]
    pick = _pick(verdicts)
    assert pick.best_fp32 is not None
    assert pick.best_fp32.technique == "ort"
    ratio = pick.against_fp32
    assert ratio is not None
    assert ratio.value == pytest.approx(2.0)
    assert ratio.low == pytest.approx(2 * math.exp(-math.hypot(math.log(0.96), math.log(1.03))))
    assert ratio.high == pytest.approx(2 * math.exp(math.hypot(math.log(1.04), math.log(0.97))))
    half = _pick(verdicts, target="bf16_cpu").against_fp32
    assert half is not None
    assert half.value == pytest.approx(0.5)


def test_where_no_lossless_cell_is_faster_eager_fp32_is_the_best() -> None:
    verdicts = [*cell("m", "none", speed=0.99, lossless=True), *cell("m", "int8", speed=2.0)]
    pick = _pick(verdicts)
    assert pick.best_fp32 is None
    assert pick.against_fp32 == picks.Ratio(2.0, 2.0 * 0.988, 2.0 * 1.012)
    broken = cell("m", "ort", speed=3.0, lossless=True)
    broken[1].update(status="FAIL")
    assert _pick([*broken, *verdicts]).best_fp32 is None


@pytest.mark.parametrize(
    ("technique", "family", "cls", "stated", "lossless"),
    [
        ("onnxruntime", "runtime", "A", None, True),
        ("onnxruntime", "quantization", "A", None, False),
        ("prune+onnxruntime", "runtime", "A", None, False),
        ("prune", "runtime", "B", None, False),
        ("onnxruntime", "runtime", "A", False, False),
        ("a+b", "pipeline", "A", True, True),
    ],
)
def test_a_cell_is_lossless_when_its_record_says_so_or_its_family_is(
    technique: str, family: str, cls: str, stated: bool | None, lossless: bool
) -> None:
    verdicts = cell("m", technique, family=family, cls=cls)
    verdicts[0]["evidence"]["lossless"] = stated
    assert _sum(verdicts).cells[0].lossless is lossless


def test_what_is_not_faster_beyond_its_interval_does_not_pay() -> None:
    assert _pick(cell("m", "none", speed=1.005)).pays is False
    unknown = cell("m", "int8", speed=1.5)
    unknown[5]["low"] = None
    assert _pick(unknown).pays is None


def test_the_pareto_set_holds_what_nothing_beats_in_both() -> None:
    undone = cell("m", "undone", speed=99.0, drop=0.0)
    undone[0]["status"] = "FAIL"
    found = _sum(
        [
            *cell("m", "none", speed=1.0, drop=0.0),
            *cell("m", "ort", speed=3.0, drop=0.0),
            *cell("m", "worse", speed=2.0, drop=0.003),
            *cell("m", "int8", speed=5.0, drop=0.004),
            *cell("m", "same", speed=5.0, drop=0.004),
            *cell("m", "as_fast_but_worse", speed=5.0, drop=0.005),
            *cell("m", "bold", speed=7.0, drop=0.3),
            *cell("m", "student", cls="C", speed=2.0, drop=0.1),
            *undone,
        ]
    )
    assert {key[1] for key in found.pareto} == {"ort", "int8", "same", "bold", "student"}


def test_geometric_means_say_what_they_cover_and_what_is_left_out() -> None:
    verdicts = [*cell("a", "t", speed=2.0), *cell("b", "t", speed=8.0)]
    verdicts += cell("c", "t", speed=100.0, drop=0.5)
    verdicts += lost_cell("d", "t", "REFUSED", "no convolution")
    verdicts += lost_cell("e", "u", "ERROR", "signal 11")
    first, second = _sum(verdicts).means
    assert (first.technique, first.covered) == ("t", 2)
    assert first.value == pytest.approx(4.0)
    assert first.left_out == (("accuracy fails", 1), ("refused", 1))
    assert (second.value, second.left_out) == (None, (("crashed", 1),))


def test_coverage_groups_refusals_and_crashes_by_reason() -> None:
    verdicts = cell("a", "t")
    verdicts[-1].update(status="REFUSED", value=None, reason="no VmHWM here")
    for model in ("b", "c"):
        verdicts += lost_cell(model, "t", "REFUSED", "no convolution")
    verdicts += lost_cell("d", "t", "ERROR", "signal 11")
    found = _sum(verdicts, selected_cells=6).coverage
    assert (found.selected, found.seen, found.measured, found.missing) == (6, 4, 1, 2)
    assert [(group.reason, len(group.lines)) for group in found.refused] == [
        ("no convolution", 2),
        ("no VmHWM here", 1),
    ]
    assert found.refused[1].lines[0].gates == "memory b32"
    assert [group.reason for group in found.errored] == ["signal 11"]
