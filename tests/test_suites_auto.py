"""auto as people meet it: options, verdicts as what it found, the command that rebuilds it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import PLUGINS, Ran, suites
from test_suites_pieces import parsed

import zoo
from gauge.policy import Known, Policy
from optimizers.auto_ways import sizes
from reports import records
from suites import catalog, choices, goals, judges, keys, matrix
from suites.catalog import ROOT

CELL = "wide-auto:30-cpu"
PLUGIN, POLICY = f"--plugin={PLUGINS / 'few.py'}", f"--policy={PLUGINS / 'few.toml'}"
WORDS = (PLUGIN, POLICY, "--model=wide", "--technique=auto:30")
UNTIMED = ("-k", "not speed and not memory")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("auto")


@pytest.fixture(scope="module")
def ran(folder) -> Ran:
    words = (*WORDS, *UNTIMED, "--allow=structure", f"--export={folder / 'kept'}")
    return suites(folder / "out", folder / "cache", *words)


def evidence(ran: Ran) -> dict:
    return ran.verdicts(CELL)["evidence"]


def test_what_was_found_passes_as_the_pipeline_that_it_is(ran):
    assert ran.code == 0, ran.output
    found = evidence(ran)["evidence"]["found"]
    # Which of onnxruntime's two is faster behind it is a matter of the machine.
    assert re.fullmatch(r"prune_channels:0\.\d\+onnxruntime(_dynamic_int8)?", found["pipeline"])
    for gate, verdict in ran.verdicts(CELL).items():
        assert verdict["status"] == "PASS", verdict
        assert (verdict["class"], verdict["family"]) == ("B", "combination"), gate
        assert verdict["cell"]["technique"] == "auto:30"


def test_claims_of_the_pipeline_must_be_found_those_that_its_last_stage_hides_too(ran):
    told = evidence(ran)["evidence"]["claims"]
    wanted = ["searched", "within_goal", "fewer_parameters", "fewer_macs", "runtime"]
    assert list(told)[:5] == wanted
    assert all(one["found"] for one in told.values()), told
    assert "which it was made from" in told["fewer_macs"]["text"]


def test_the_terminal_and_the_page_say_what_was_found_and_how_to_have_it_again(ran):
    found = evidence(ran)["evidence"]["found"]
    assert f"{CELL} found {found['pipeline']} (class B)" in ran.output
    assert f"without a search: {found['command']}" in ran.output
    page = (ran.report / "index.html").read_text()
    assert found["pipeline"] in page
    assert "<dt>Trials</dt>" in page
    assert "<dt>Layers</dt>" in page


def test_the_command_makes_the_same_artifact_without_a_search(ran, folder):
    """To the byte: cut by channels, trained and exported by the same stages and seed."""
    found = evidence(ran)["evidence"]["found"]
    words = shlex.split(found["command"])
    assert words[:2] == ["pytest", "suites/"]
    kept = folder / "again"
    again = suites(folder / "o2", folder / "cache", *words[2:], *UNTIMED, f"--export={kept}")
    assert again.code == 0, again.output
    cell = f"wide-{found['pipeline']}-cpu"
    assert "auto:30-cpu" not in again.output
    first, second = (
        json.loads((one / "artifact" / "manifest.json").read_text())
        for one in (folder / "kept" / CELL, kept / cell)
    )
    assert first["files"] == second["files"]


def test_what_comes_before_the_last_stage_is_built_once_and_as_by_its_own_command(ran, folder):
    """The search leaves it as the cell that it is, for the evidence and for whoever asks for it."""
    before = evidence(ran)["evidence"]["found"]["pipeline"].split("+")[0]
    assert f"wide-{before}-cpu: apply" not in ran.output
    kept = {}
    for name in ("cache", "fresh"):
        words = (PLUGIN, POLICY, "--model=wide", f"--technique={before}", *UNTIMED, "-v")
        out = folder / f"kept-{name}"
        again = suites(folder / f"b-{name}", folder / name, *words, f"--export={out}")
        assert (f"wide-{before}-cpu: apply" in again.output) == (name == "fresh")
        kept[name] = json.loads((out / f"wide-{before}-cpu/artifact/manifest.json").read_text())
    weights = [one["files"]["weights.safetensors"]["sha256"] for one in kept.values()]
    assert weights[0] == weights[1]


def test_a_cached_search_is_not_made_again_and_another_goal_is(ran, folder):
    again = suites(folder / "o3", folder / "cache", *WORDS, *UNTIMED, "--allow=structure")
    assert again.code == 0, again.output
    assert "apply" not in again.output
    assert not list((folder / "cache").glob("unfinished/*")), "what a search kept is gone"
    other = suites(folder / "o4", folder / "cache", *WORDS, *UNTIMED, "--optimise-for=size")
    assert "auto:30-cpu: apply" in other.output
    assert other.verdicts(CELL)["evidence"]["evidence"]["found"]["pipeline"] == (
        "onnxruntime_dynamic_int8"
    )
    assert other.verdicts(CELL)["size"]["class"] == "A"


def test_the_answer_for_throughput_names_its_batch_and_the_command_gates_it(ran, folder):
    words = (*WORDS[:3], "--technique=auto:4", "--optimise-for=throughput")
    ran_wide = suites(folder / "o7", folder / "cache", *words, "-k", "evidence")
    verdict = ran_wide.verdicts("wide-auto:4-cpu")["evidence"]
    assert verdict["status"] == "PASS", verdict
    found = verdict["evidence"]["found"]
    told = found["batch"]
    assert told["size"] in sizes(32)
    assert told["call_ms"] == pytest.approx(1e3 * told["size"] / told["samples_per_second"])
    assert min(told["memory_bytes"].values()) > 0
    asked = [] if told["size"] == 1 else ["--batch", str(told["size"])]
    command = shlex.split(found["command"])
    assert command[8 : 8 + len(asked)] == asked
    assert ("--batch" in command) == bool(asked)
    assert f"in batches of {told['size']}: " in ran_wide.output
    assert f"in batches of {told['size']}" in verdict["evidence"]["claims"]["within_goal"]["text"]


def test_a_goal_that_nothing_meets_fails_and_says_by_how_much(ran, folder):
    words = (*WORDS, *UNTIMED, "--size-budget=0.01", f"--export={folder / 'none'}")
    missed = suites(folder / "o5", folder / "cache", *words)
    assert missed.code == 1
    verdict = missed.verdicts(CELL)["evidence"]
    assert verdict["status"] == "FAIL"
    assert "within_goal not found" in verdict["reason"]
    assert "MB of 0.01 MB: over it by" in verdict["reason"]
    assert "is the closest of the search" in verdict["reason"]
    assert "--size-budget 0.01" in verdict["command"]
    assert not (folder / "none").exists()


def test_the_accuracy_gate_asks_for_the_stated_drop(ran, folder):
    words = (*WORDS, "--max-drop=0.004", "-k", "accuracy", "--allow=structure", "--max-drop=0.004")
    tight = suites(folder / "o6", folder / "cache", *words)
    limit = tight.verdicts(CELL)["accuracy"]["limit"]
    assert (limit["max"], limit["source"]) == (0.004, "--max-drop")
    assert "--max-drop 0.004" in tight.verdicts(CELL)["accuracy"]["command"]
    loose = records.read(ran.report).verdicts
    assert next(one for one in loose if one["gate"] == "accuracy")["limit"]["max"] == 0.02


def test_what_was_turned_down_for_want_of_samples_is_told_with_the_command_that_gates_it():
    known = catalog.read()
    cell = matrix.cell(known, "vit", "auto", "cpu")
    other = {"stages": [["low_rank", {"ratio": 0.3, "tune": True}], ["openvino", {"threads": 1}]]}
    other |= {"trial": 5, "drop": 0.003, "drop_error": 0.004, "share": 0.8}
    search = {"batch": None, "undecided": [other]}
    meta = {
        "stages": [
            {"technique": "auto", "params": {"trials": "all"}, "notes": {"search": search}},
            {"technique": "openvino", "params": {"threads": "all"}, "notes": {}},
        ]
    }
    engine = SimpleNamespace(known=lambda *_: True, artifact=lambda _: SimpleNamespace(meta=meta))
    run = SimpleNamespace(begun=True, catalog=known, engine=engine)

    def command(run, cell, gate, batches):
        return f"{gate} of {cell.technique} on {cell.model}-{cell.target} at {batches}"

    told = choices.told(run, cell, command)["found"]
    assert told["command"] == "evidence of openvino on vit-cpu at None"
    assert told["undecided"] == [
        {
            "pipeline": "low_rank:0.3+openvino:1",
            "drop": 0.003,
            "drop_error": 0.004,
            "share": 0.8,
            "command": "accuracy of low_rank:0.3+openvino:1 on vit-cpu at None",
        }
    ]


# Goals.


def settled(techniques=("auto",), policy=ROOT / "policy.toml", **given):
    known = catalog.read()
    names = {"models": sorted(known.models), "techniques": sorted(known.techniques)}
    held = Policy.read(
        policy,
        Known(
            **names,
            families=sorted({*known.families(), "combination"}),
            targets=sorted(known.targets),
            capabilities={"avx2", "avx512_vnni", "avx512_fp16", "avx512_bf16", "cuda"},
        ),
    )
    settings = parsed(**given)
    cells = matrix.cells(
        known, matrix="standard", targets=["cpu"], models=["vit", "minilm"], techniques=techniques
    )
    return goals.settle(settings, held, known, cells)


@pytest.mark.parametrize(("name", "units", "margin"), [("vit", 2000, 1.645), ("minilm", 32, 1.696)])
def test_a_search_knows_how_many_samples_or_groups_the_gate_has(name, units, margin):
    """Quantiles of the normal and of Student's t with 31 degrees of freedom, from a table."""
    told = judges.gate(zoo.get(name))
    assert told == {"judged_on": units, "margin": pytest.approx(margin, abs=5e-4)}


def test_what_is_not_stated_is_what_the_policy_allows_of_latency_and_numerics():
    settings, cells = settled()
    assert [cell.cls for cell in cells] == ["A", "A"]
    assert {name: one["max_drop"] for name, one in settings.goals.items()} == {
        "minilm-auto-cpu": 0.02,
        "vit-auto-cpu": 0.01,
    }
    goal = keys.goal(next(one for one in cells if one.model == "vit"), settings)
    assert goal == {
        "optimise_for": "latency", "allow": "numerics", "batch": 32, "max_drop": 0.01,
        "fidelity": 0.95,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "speed"),
    [
        ({"optimise_for": ["size"]}, 1.0),
        ({"optimise_for": ["energy"], "batch": ["8", "1"]}, 1.0),
        ({"optimise_for": ["size"], "batch": ["8"]}, None),
        ({"optimise_for": ["throughput"]}, None),
        ({}, None),
    ],
)
def test_what_is_not_the_fastest_has_to_pass_the_speed_gate_that_there_is(given, speed):
    settings, _ = settled(**given)
    assert {one.get("speed") for one in settings.goals.values()} == {speed}


def test_the_widest_class_that_is_allowed_is_the_cells_until_something_is_found():
    settings, cells = settled(allow=["architecture"], max_drop=["0.005"])
    assert [cell.cls for cell in cells] == ["C", "C"]
    assert {one["max_drop"] for one in settings.goals.values()} == {0.005}


def test_other_cells_have_no_goal_and_their_artifacts_do_not_depend_on_one():
    settings, cells = settled(techniques=("auto", "onnxruntime"), allow=["structure"])
    plain = next(cell for cell in cells if not cell.automatic)
    assert keys.goal(plain, settings) == {}
    known = catalog.read()
    both = [keys.artifact(known, plain, one, "0") for one in (settings, parsed())]
    assert both[0] == both[1]


def test_auto_is_in_no_standard_matrix_even_of_a_plugins_model():
    known = catalog.read([PLUGINS / "few.py"])
    cells = matrix.cells(known, matrix="standard", targets=["cpu", "fp16_cpu"])
    assert any(cell.model == "wide" for cell in cells)
    assert not any(cell.automatic for cell in cells)
    assert any(c.automatic for c in matrix.cells(known, matrix="full", targets=["cpu"]))
