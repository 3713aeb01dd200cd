"""The tables of docs/results.md from made-up records that went through the real writer."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import reports_fixtures as made
import results
import results_search
import results_tables as tables
import results_training
from results_distillation import paired_interval
from results_distillation import table as taught_table
from test_results_serving import row as served_row

from reports import cells as grouped
from reports import records

SHA = "0" * 64


def tool(model, name, log_ratio=0.5, **more):
    told = {"model": model, "tool": name, "log_ratio": log_ratio, "drop": 0.0}
    return {**told, "accuracy": "PASS", "invalid": None, **more}


@pytest.fixture
def report(tmp_path):
    """A finished run: fast, faster but wrong, slow, refused, and of each class."""
    verdicts = [
        *made.cell("resnet18", "static_int8", speed=6.0),
        *made.cell("resnet18", "openvino_int8", speed=9.0, drop=0.08),
        *made.cell("resnet18", "dynamic_int8", speed=0.7),
        *made.lost_cell("resnet18", "compile", "REFUSED", "no compiler is installed"),
        *made.cell("mobilenet_v3_small", "static_int8", speed=4.0),
        *made.cell("vit", "openvino_int8", speed=3.0, drop=0.08),
        *made.cell("resnet18", "prune_channels", cls="B", family="pruning", speed=10.0),
        *made.cell("mobilenet_v3_small", "prune_channels", cls="B", family="pruning", speed=5.0),
        *made.cell("resnet18", "distill", cls="C", family="distillation", speed=40.0),
        *made.cell("resnet18", "qat_int8", speed=5.0),
    ]
    records.write(tmp_path / records.FILE, made.run_record(), verdicts)
    (tmp_path / "samples").mkdir()
    return tmp_path


@pytest.fixture
def cells(report):
    return grouped.group(records.read(report))


def row(lines, *words):
    """The one table row that holds all the words."""
    (found,) = [line for line in lines if all(word in line for word in words)]
    return found


def test_a_faster_cell_that_loses_accuracy_is_not_the_best(cells):
    lines = tables.class_table(cells, "A")
    assert "`static_int8`" in row(lines, "resnet18")
    assert "6.00×" in row(lines, "resnet18")
    assert not any("9.00" in line for line in lines)


def test_a_model_without_a_certified_cell_says_what_stood_in_the_way(cells):
    assert "none keeps the accuracy (1 accuracy fails)" in row(
        tables.class_table(cells, "A"), "vit"
    )


def test_classes_are_never_mixed(cells):
    assert "40" in row(tables.class_table(cells, "C"), "resnet18")
    for class_ in "AB":
        assert not any("distill" in line for line in tables.class_table(cells, class_))
    assert tables.class_table([], "C") == ["No cell of this class was measured."]


def test_means_are_geometric_and_held_to_their_goals(cells):
    lines = tables.means(cells)
    assert f"{math.sqrt(24):.2f}×" in row(lines, "A", "MISSED")
    assert f"{math.sqrt(50):.2f}×" in row(lines, "B", "MISSED")
    assert "only 1 of 2 certified" in row(lines, "C")
    assert not any("reached" in line for line in lines)


def test_losers_are_named_and_refused_cells_are_not_among_them(cells):
    lines = tables.losers(cells)
    assert "0.70×" in row(lines, "dynamic_int8")
    assert "FAIL" in row(lines, "openvino_int8", "resnet18")
    assert not any("compile" in line or "`static_int8`" in line for line in lines)
    assert tables.losers([]) == [
        "None: every measured cell is faster than eager FP32 and keeps the accuracy."
    ]


def test_a_tool_is_told_with_its_interval_over_processes():
    (found,) = tables.tools([tool("vit", "x", one) for one in (0.4, 0.5, 0.6)])
    assert found.ratio == pytest.approx(math.exp(0.5))
    assert found.low < found.ratio < found.high
    (found,) = tables.tools([tool("vit", "x")])
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize("spoilt", [{"error": "RuntimeError: no"}, {"invalid": "the clock jumped"}])
def test_one_bad_process_spoils_a_tool(spoilt):
    (found,) = tables.tools([tool("vit", "x"), tool("vit", "x", **spoilt)])
    assert found.ratio is None
    assert not found.certified
    assert next(iter(spoilt.values())) in row(tables.tool_table([found]), "vit")


def test_class_a_is_compared_with_the_best_certified_tool_only(cells):
    found = tables.tools(
        [
            tool("resnet18", "slow", math.log(3.0)),
            tool("resnet18", "fast", math.log(5.0)),
            tool("resnet18", "wrong", math.log(50.0), accuracy="FAIL"),
            tool("mobilenet_v3_small", "fast", math.log(8.0)),
        ]
    )
    assert tables.rivals(cells, found) == {
        "resnet18": ("fast", "static_int8"),
        "mobilenet_v3_small": ("fast", "static_int8"),
    }
    lines = tables.against_tools(cells, found)
    assert "not measured" in row(lines, "resnet18", "fast 5.00×")
    timed = [
        *(in_turns("resnet18", value) for value in (0.17, 0.18, 0.19)),
        *(in_turns("mobilenet_v3_small", value) for value in (-0.69, -0.70, -0.71)),
        in_turns("resnet18", 3.0, tool="slow"),
        in_turns("resnet18", 3.0, technique="openvino"),
    ]
    lines = tables.against_tools(cells, found, timed)
    assert "1.20× [1.17, 1.23] |" in row(lines, "resnet18", "fast 5.00×")
    assert "(slower)" in row(lines, "mobilenet_v3_small", "0.50×")
    assert "the tools were not run on it" in row(lines, "vit")
    value = math.exp((0.18 - 0.70) / 2)
    assert f"{value:.2f}×" in row(lines, "Geometric mean", "MISSED")


def in_turns(model, log_ratio, tool="fast", technique="static_int8"):
    told = {"model": model, "tool": tool, "technique": technique}
    return {**told, "log_ratio": log_ratio, "invalid": None}


def test_an_even_race_is_not_told_as_won_or_lost(cells):
    found = tables.tools([tool("resnet18", "fast", math.log(5.0))])
    timed = [in_turns("resnet18", value) for value in (-0.02, 0.0, 0.01)]
    assert "(not told apart)" in row(tables.against_tools(cells, found, timed), "resnet18", "fast")
    spoilt = [*timed, {**in_turns("resnet18", 0.0), "invalid": "the clock jumped"}]
    assert "the clock jumped" in row(tables.against_tools(cells, found, spoilt), "resnet18")


def scored(report, cell, scores):
    path = report / "samples" / f"{cell}.npz"
    np.savez(path, baseline=np.ones(len(scores)), candidate=np.asarray(scores, "float32"))


def test_qat_is_told_against_ptq_on_the_same_samples(cells, report):
    ptq, qat = np.ones(1000), np.ones(1000)
    ptq[:50] = 0
    scored(report, "resnet18-static_int8-cpu", ptq)
    scored(report, "resnet18-qat_int8-cpu", qat)
    assert "-5.00" in row(tables.qat_table(cells, [report / "samples"]), "resnet18", "not worse")
    scored(report, "resnet18-static_int8-cpu", qat)
    scored(report, "resnet18-qat_int8-cpu", ptq)
    found = row(tables.qat_table(cells, [report / "samples"]), "resnet18", "+5.00")
    assert "not worse" not in found


def test_qat_without_samples_is_not_told(cells, report):
    assert tables.qat_table(cells, [report / "samples"]) == ["The run holds no model with both."]


def test_the_worst_layers_are_shown_first():
    verdicts = made.cell("efficientnet_lite0", "static_int8")
    verdicts[0]["evidence"]["stages"] = [
        {
            "technique": "static_int8",
            "notes": {"sensitivity": {"a": 31.0, "b": 18.8}, "kept": ["b"]},
        }
    ]
    cells = grouped.group(records.Records(made.run_record(), verdicts))
    lines = tables.layer_table(cells, "efficientnet_lite0")
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| b", "| a"]
    assert ["FP32" in line for line in lines[2:]] == [True, False]
    assert "No technique" in tables.layer_table(cells, "resnet18")[0]


def taught(gains, model="resnet18"):
    common = {"model": model, "temperature": 4.0, "alpha": 0.9, "steps": 600, "parameters": 24000}
    return [
        {**common, "seed": seed, "teacher": 0.98, "taught": 0.94 + gain, "alone": 0.94}
        for seed, gain in enumerate(gains)
    ]


def test_a_gain_is_told_with_its_interval_over_seeds():
    lines = taught_table([*taught([0.014, 0.015, 0.016]), *taught([-0.01, 0.012, 0.0], "lstm")])
    assert "+1.50 [+1.25, +1.75] |" in row(lines, "resnet18", "24,000", "600", "3")
    assert "not told from zero" in row(lines, "lstm")
    assert "no gain" in row(taught_table(taught([-0.01, -0.012, -0.011])), "resnet18")


def test_two_seeds_are_too_few():
    with pytest.raises(ValueError, match="needs 3 seeds, found 2"):
        paired_interval([0.1, 0.2])


def test_the_interval_is_students():
    # Three values with mean 2 and SD 1: t(2, 0.975) = 4.302653.
    assert paired_interval([1, 2, 3]) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def searched(seed):
    def arm(right):
        return {"evaluation": right, "hypervolume": right, "macs": 1e6, "bytes": 5e4}

    arms = dict(zip(results_search.ARMS, map(arm, (0.95, 0.94, 0.94)), strict=True))
    setting = {"model": "resnet18", "seed": seed, "trials": 20, "budget": {"size_mb": 0.1}}
    return {**setting, "baseline": 0.97, **arms}


def test_the_page_holds_every_part_and_no_host_name(report, cells):
    kept = results.Kept(report / "measured.jsonl", made.run_record())
    kept.add("tool", 0, [tool("resnet18", "onnxruntime", 1.0)])
    kept.add("distillation", 3, taught([0.014, 0.015, 0.016]))
    assert "## Architecture search against chance\n\nNot measured." in results.page(
        records.read(report), kept, [report]
    )
    kept.add("search", 3, [searched(seed) for seed in range(3)])
    kept.add("serving", 0, [served_row((8, 0.0, (90,)), (16, 1.0, (100,)), model="resnet18")])
    text = results.page(records.read(report), kept, [report, report])
    for part in ("Class A", "Class B", "Class C", "onnxruntime", "+1.50", "What loses", "2.14.1"):
        assert part in text
    assert "| resnet18 | evolution | 20 | 3 | +1.00 [+1.00, +1.00] |" in text
    assert "batch 16, 1 ms: 100 a second [100, 100] | 90.0%: MISSED" in text
    import socket

    assert socket.gethostname() not in text
    assert "`6fa7e66c0ffe`" in text
    assert "Cells that it has not: run" in text


def test_a_way_to_train_is_in_its_own_table_alone(report, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    records.write(more / records.FILE, made.run_record(), made.training("lstm", "amp_bf16"))
    cells = grouped.group(results.joined([report, more]))
    lines = results_training.section(cells)
    found = row(lines, "lstm", "`amp_bf16`")
    assert "1234 → 2346 | 1.90× [1.85, 1.95] | 0.80× | 0.10" in found.replace("\u202f", " ")
    assert "2334 of 2340" in found
    assert "amp_bf16" not in "".join(tables.class_table(cells, "A") + tables.losers(cells))
    assert "Not measured" in results_training.section([])[0]


def test_what_was_measured_is_kept_for_the_same_weights_and_versions_only(tmp_path):
    path, run = tmp_path / "measured.jsonl", made.run_record()
    results.Kept(path, run).add("tool", 1, [tool("resnet18", "x")])
    assert len(results.Kept(path, {**run, "run": "another"}).get("tool", "resnet18", 1)) == 1
    assert results.Kept(path, run).get("tool", "resnet18", 2) == []
    models = {**run["models"], "resnet18": {**run["models"]["resnet18"], "sha256": "1" * 64}}
    assert results.Kept(path, {**run, "models": models}).all("tool") == []
    other = {**run, "versions": {**run["versions"], "torch": "3.0"}}
    assert results.Kept(path, other).all("tool") == []


def test_later_reports_add_cells_and_replace_none(report, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    added = [*made.cell("resnet18", "dynamic_int8", speed=9.0), *made.cell("vit", "qat_int8")]
    records.write(more / records.FILE, made.run_record(), added)
    cells = {cell.key: cell for cell in grouped.group(results.joined([report, more]))}
    assert cells["resnet18", "dynamic_int8", "cpu"].value("speed") == 0.7
    assert ("vit", "qat_int8", "cpu") in cells


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"complete": False}, "did not finish"),
        ({"versions": {"torch": "3.0"}}, "other versions"),
        ({"models": {"resnet18": {"sha256": "1" * 64}}}, "other weights of resnet18"),
    ],
)
def test_a_report_that_does_not_belong_is_refused(report, tmp_path, change, why):
    more = tmp_path / "more"
    more.mkdir()
    records.write(more / records.FILE, {**made.run_record(), **change}, made.cell("vit", "none"))
    with pytest.raises(SystemExit, match=why):
        results.joined([report, more])


def test_weights_are_found_by_the_runs_hash(tmp_path):
    folder = tmp_path / "weights" / "abc"
    (folder / "artifact").mkdir(parents=True)
    (folder / "entry.json").write_text(json.dumps({"meta": {"sha256": SHA}}))
    (folder / "artifact" / "weights.safetensors").write_bytes(b"")
    assert results.weights(tmp_path, "vit", SHA).name == "weights.safetensors"
    with pytest.raises(SystemExit, match="holds no weights of vit"):
        results.weights(tmp_path, "vit", "1" * 64)
