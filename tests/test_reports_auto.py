"""A search for a pipeline on the page: lines, trials and layers; whatever its record holds."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from test_reports_search import plain

from reports import auto_chart, layers_chart
from reports.cells import Cell
from reports.detail import details
from reports.view import section


def trial(name: str, status: str = "passes", **more: Any) -> dict[str, Any]:
    told = {"pipeline": name, "class": "A", "status": status, "reason": None}
    return {**told, "drop": 0.001, "latency_ms": 2.0, "bytes": 1_000_000, **more}


TRIALS = [
    trial("onnxruntime"),
    trial("prune_channels:0.5+openvino", latency_ms=1.0, drop=0.004, **{"class": "B"}),
    trial("static_int8", "drops", reason="drops 3.00 points on validation", drop=0.03),
    trial("tensorrt", "refused", reason="no GPU", drop=None, latency_ms=None),
    trial("cuda_graphs", "refused", reason="no GPU", drop=None, latency_ms=None),
]


def notes(trials: Any = TRIALS, goal: Any = None, **changes: Any) -> dict[str, Any]:
    search = {
        "kind": "pipelines",
        "trials": trials,
        "chosen": 1,
        "pipeline": "prune_channels:0.5+openvino",
        "samples": 1000,
        "validation": "a fifth of the training split, and the calibration split",
    }
    wanted = {"max_drop": 0.01, "optimise_for": "latency", "allow": "structure"}
    told = {**wanted, "field": "latency_ms", "latency_ms": None, "size_mb": 4.0}
    return {
        "search": {**search, **changes},
        "goal": told if goal is None else goal,
        "sensitivity": {"head": 30.0, "body.0": 12.5, "body.1": 44.0},
        "kept": ["body.0"],
    }


def cell(told: Any) -> Cell:
    stages = [{"technique": "auto", "seconds": 1.0, "notes": told}]
    found = {"pipeline": "x", "command": "pytest suites/ --technique x"}
    evidence = {"stages": stages, "found": found}
    common = {"cell": {}, "id": "m-t-cpu", "class": "B", "batch": None, "status": "PASS"}
    return Cell("m", "t", "cpu", [{**common, "gate": "evidence", "evidence": evidence}])


def test_goal_choice_command_the_best_and_the_reasons_are_told():
    assert plain(dict(details(cell(notes())))["Search"]) == [
        "goal: least latency, a drop of at most 1.00 pt, structure may change, at most 4 MB",
        "3 pipelines tried of 5 listed, 2 good enough on 1000 samples: a fifth of the training "
        "split, and the calibration split",
        "found: prune_channels:0.5+openvino",
        "without a search: pytest suites/ --technique x",
        "prune_channels:0.5+openvino: drop 0.40 pt, 1 ms a call, 1 MB",
        "onnxruntime: drop 0.10 pt, 2 ms a call, 1 MB",
        "drops: static_int8: drops 3.00 points on validation",
        "refused: tensorrt and 1 more: no GPU",
    ]


def test_what_was_judged_again_is_told_with_what_was_found_at_first():
    first = {"drop": 0.0094, "drop_error": 0.0038}
    one = trial("distill:4:0.9", drop=0.0014, drop_error=0.0024, samples=4420, first=first)
    joined = trial("distill:4:0.9+openvino", drop=0.0014, samples=1000, first=first)
    odd = trial("x", samples=9999, first={"drop": None})
    lines = plain(dict(details(cell(notes([one, joined, odd]))))["Search"])
    assert [line for line in lines if "again" in line] == [
        "judged again, made from either half of training and asked about the other: distill:4:0.9 "
        "drops 0.14 ± 0.24 points by 4420 answers, 0.94 ± 0.38 by the first 1000"
    ]


def test_what_is_undecided_is_told_with_the_command_that_decides_it():
    told = cell(notes())
    found = told.verdicts[0]["evidence"]["found"]
    one = {"pipeline": "distill:4:0.9+openvino", "drop": 0.0062, "drop_error": 0.0039}
    one |= {"share": 0.274, "command": "pytest suites/ --technique distill:4:0.9+openvino"}
    found["undecided"] = [one, {**one, "drop_error": None}, {**one, "drop": None}, "x"]
    lines = plain(dict(details(told))["Search"])
    start = lines.index("without a search: pytest suites/ --technique x") + 1
    assert lines[start : start + 3] == [
        "undecided: distill:4:0.9+openvino would cost about 0.27x as much, and drops 0.62 ± 0.39 "
        "points on validation, too close to what is allowed",
        "have the accuracy gate decide: pytest suites/ --technique distill:4:0.9+openvino",
        "undecided: distill:4:0.9+openvino would cost about 0.27x as much, and drops 0.62 points "
        "on validation, too close to what is allowed",
    ]
    assert len([one for one in lines if one.startswith("undecided")]) == 2
    found["undecided"] = "x"
    assert not [one for one in plain(dict(details(told))["Search"]) if "undecided" in one]


def test_a_speed_that_the_smallest_must_have_is_told():
    goal = {**notes()["goal"], "optimise_for": "size", "size_mb": None, "speed": 1.0}
    lines = plain(dict(details(cell(notes(goal=goal))))["Search"])
    assert lines[0].endswith("structure may change, at least 1x as fast as FP32")


def test_the_fp32_that_structures_were_compared_with_is_told():
    reference = {"trained_on": 2000, "score": 0.9583, "fp32": 0.9698}
    lines = plain(dict(details(cell(notes(reference=reference))))["Search"])
    assert lines[2] == (
        "structures and architectures were made from, and compared with, FP32 trained on the other "
        "2000 training samples alone: 0.9583 on these, where FP32 that has seen all scores 0.9698"
    )
    several = plain(dict(details(cell(notes(reference={**reference, "views": 4}))))["Search"])
    assert several[2] == (
        f"{lines[2]}; those trained on inputs that change, 4 times: as they are, and changed so"
    )
    for none in (None, {}, {**reference, "score": None}, "x"):
        assert plain(dict(details(cell(notes(reference=none))))["Search"])[2].startswith("found")


def test_the_batch_size_of_a_throughput_is_told_with_its_time_and_memory():
    trials = [trial("onnxruntime:2", sample_ms=0.5, batch=8)]
    goal = {"max_drop": 0.01, "optimise_for": "throughput", "field": "sample_ms"}
    told = cell(notes(trials, goal, chosen=0, batch=8))
    found = told.verdicts[0]["evidence"]["found"]
    memory = {"baseline": 3e6, "candidate": 2e6}
    found["batch"] = {"size": 8, "samples_per_second": 2000.0, "call_ms": 4.0}
    found["batch"]["memory_bytes"] = memory
    lines = plain(dict(details(told))["Search"])
    wanted = "in batches of 8: 2000 samples a second, 4 ms a call, 2 MB of memory (FP32 3 MB)"
    assert wanted in lines
    assert "onnxruntime:2: drop 0.10 pt, 0.5 ms a sample in batches of 8, 1 MB" in lines
    found["batch"]["samples_per_second"] = None
    assert wanted not in plain(dict(details(told))["Search"])
    memory["candidate"] = None
    found["batch"]["samples_per_second"] = 2000.0
    assert "not available of memory" in "".join(plain(dict(details(told))["Search"]))


def test_every_trial_with_both_numbers_is_drawn_and_nothing_needs_styles():
    root = ElementTree.fromstring(auto_chart.plot(cell(notes()), "t1"))
    told = plain([str(one.text) for one in root.iter("title")])
    assert "static_int8: drop 3.00 pt, 2 ms a call, 1 MB" in told
    assert len(told) == 4  # three trials, and the plot's own
    written = "".join(root.itertext())
    assert all(one in written for one in ("1", "2", "ms a call", "drop, points"))
    assert "mathdefault" not in written
    assert not [one for one in root.iter() if "style" in one.attrib]
    ids = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    assert ids
    assert all(one.startswith("t1") for one in ids)


def test_layers_are_drawn_worst_first_with_those_left_in_fp32():
    root = ElementTree.fromstring(layers_chart.plot(cell(notes()), "l1"))
    told = [str(one.text) for one in root.iter("title")][1:]
    assert told == ["body.0: 12.5 dB, left in FP32", "head: 30.0 dB", "body.1: 44.0 dB"]
    assert [title for title, _ in section(cell(notes()), 0)["plots"]] == ["Trials", "Layers"]
    assert section(cell(notes()), 1)["plots"] == []


def test_a_hostile_record_stays_text():
    bad = "</title><script>x</script>"
    told = notes([trial(bad), trial("<img src=x>", **{"class": bad})])
    told["sensitivity"] = {bad: 1.0}
    for svg in (auto_chart.plot(cell(told), "t1"), layers_chart.plot(cell(told), "l1")):
        assert svg
        assert "<script" not in svg
        assert "<img" not in svg


@pytest.mark.parametrize(
    "odd",
    [
        None,
        {},
        {"search": 3},
        {"search": {"kind": "pipelines"}},
        notes(trials=None),
        {**notes(trials=[3, None]), "sensitivity": {"a": "x", "b": 1e9}},
    ],
)
def test_a_record_of_another_shape_is_left_out(odd):
    told = {} if odd is None else {**odd, "sensitivity": {"a": None}}
    assert "Search" not in dict(details(cell(told)))
    assert section(cell(told), 0)["plots"] == []


def test_what_cannot_be_drawn_leaves_the_rest():
    odd = [trial("a", drop="x"), trial("b", latency_ms=0.0), trial("c", bytes=None)]
    told = notes(odd, goal={})
    assert auto_chart.lines(cell(told))[2] == "found: prune_channels:0.5+openvino"
    assert auto_chart.plot(cell(told), "t1") == ""
    assert auto_chart.plot(cell(notes(chosen=99)), "t1")
