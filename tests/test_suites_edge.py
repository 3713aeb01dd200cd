"""The edge suite as people run it: what it selects, measures and says where it cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reports_fixtures import run_record, verdict
from running import PLUGINS, ROOT, Ran, suites

from gauge.verdict import GATES, deployment_of
from reports.records import Records
from suites import catalog, certified, edge_verdicts
from suites.certified import Certified

pytest_plugins = ["pytester"]

EDGE_GATES = {gate for gate in GATES if deployment_of(gate) == "edge"}
EDGE = os.fspath(ROOT / "suites" / "test_edge.py")
PLUGIN = f"--plugin={PLUGINS / 'edge_faults.py'}"
POLICY = """
[[limit]]
gate = "edge_artifact"
max = 1e5
reason = "what this board's flash has left"

[[limit]]
gate = "edge_installed"
technique = "onnxruntime"
max = 1e6
reason = "less than any runtime takes"

[[limit]]
gate = "edge_cold_start"
max = 60
reason = "nobody waits longer"

[[limit]]
gate = "edge_energy"
max = 1e-9
reason = "where a counter tells"
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("edge")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    (folder / "cache").mkdir()
    known = {**CERTIFIED, "weights": "0" * 64}
    (folder / "cache" / certified.FILE).write_text(json.dumps({known_id(known): known}))
    techniques = [f"--technique={one}" for one in ("onnxruntime", "drifts", "dies")]
    keep = "onnxruntime or (none and (artifact or macs)) or ((drifts or dies) and cold_start)"
    words = ("--model=digits_mlp", *techniques, PLUGIN, "--policy", str(policy), "-k", keep)
    return suites(
        folder / "out", folder / "cache", "--effort=quick", "--threads=1", *words, what=EDGE
    )


CERTIFIED: dict[str, Any] = {
    "model": "digits_mlp",
    "technique": "onnxruntime",
    "target": "cpu",
    "class": "A",
    "speed": 2.0,
    "drop": 0.0,
    "drop_high": 0.004,
    "run": "earlier",
    "weights": None,
}


def known_id(one: dict[str, Any]) -> str:
    return "-".join((one["model"], one["technique"], one["target"]))


def of(ran: Ran, technique: str) -> dict[str, dict[str, Any]]:
    return ran.verdicts(f"digits_mlp-{technique}-cpu")


def test_every_question_is_answered_beside_fp32(ran):
    found = of(ran, "onnxruntime")
    assert set(found) == EDGE_GATES
    counted = 64 * 128 + 128 * 64 + 64 * 10
    assert found["edge_macs"]["value"] == counted
    assert found["edge_parameters"]["value"] == counted + 128 + 64 + 10
    assert found["edge_installed"]["baseline"]["value"] > 2 * found["edge_installed"]["value"]
    packages = found["edge_installed"]["evidence"]["packages"]
    assert {"onnxruntime", "numpy"} <= set(packages)
    assert "torch" not in packages
    memory, start = found["edge_memory"], found["edge_cold_start"]
    assert 1e6 < memory["low"] <= memory["value"] <= memory["high"] < memory["baseline"]["value"]
    assert start["evidence"]["ratio"]["low"] > 1
    assert len(start["evidence"]["samples"]["candidate"]) == 6
    assert start["evidence"]["coverage"] == pytest.approx(0.96875)
    roof = found["edge_roofline"]
    assert roof["evidence"]["format"] == "float32"
    assert 0 < roof["value"] < 5
    assert roof["evidence"]["roof"]["attainable"] > 1e8


def test_limits_of_the_policy_gate_in_plain_units(ran):
    found = of(ran, "onnxruntime")
    assert found["edge_artifact"]["status"] == "PASS"
    assert found["edge_cold_start"]["status"] == "PASS"
    installed = found["edge_installed"]
    assert installed["status"] == "FAIL"
    assert "at most 1 MB is asked" in installed["reason"]
    macs = found["edge_macs"]
    assert macs["status"] == "NO_EXPECTATION"
    assert macs["reason"].startswith("17 thousand, FP32 17 thousand; the policy has no edge_macs")


def test_energy_is_measured_or_says_why_not(ran):
    found = of(ran, "onnxruntime")["edge_energy"]
    if found["value"] is None:
        assert found["status"] == "NO_EXPECTATION"
        assert found["reason"].startswith("not available: ")
    else:
        assert found["status"] == "FAIL"
        assert found["evidence"]["source"].startswith("RAPL")


def test_an_artifact_that_answers_otherwise_in_its_own_process_fails(ran):
    found = of(ran, "drifts")["edge_cold_start"]
    assert found["status"] == "FAIL"
    assert "not what the artifact answers" in found["reason"]
    assert found["value"] is None


def test_a_process_that_dies_is_an_error_with_its_signal(ran):
    found = of(ran, "dies")["edge_cold_start"]
    assert found["status"] == "ERROR"
    assert "the candidate's cold start ended without an answer: signal 11" in found["reason"]


def test_a_certificate_of_other_weights_does_not_hold(ran):
    told = of(ran, "onnxruntime")["edge_artifact"]["evidence"]["certified"]
    assert told["run"] == "earlier"
    assert told["holds"] is False
    page = (ran.report / "index.html").read_text()
    assert "certified with other weights than these" in page
    assert "nothing to choose by: no certified artifact, nor FP32, has edge_installed" in page


def test_the_page_and_the_terminal_tell_what_is_taken(ran):
    assert "On a small device" in (ran.report / "index.html").read_text()
    assert "\n\ndigits_mlp on cpu, on a small device:" in ran.output
    assert "\n\n\n" not in ran.output.partition("= optgauge =")[2]
    assert "## Deployment" in (ran.report / "summary.md").read_text()
    command = of(ran, "onnxruntime")["edge_macs"]["command"]
    assert command.startswith("pytest suites/test_edge.py ")
    assert "--deadline" not in command


@pytest.fixture
def collected(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")

    def start(*words: str, known: tuple[dict[str, Any], ...] = ()):
        cache = pytester.path / "cache"
        cache.mkdir(exist_ok=True)
        (cache / certified.FILE).write_text(json.dumps({known_id(one): one for one in known}))
        folders = ("--cache", str(cache), "--report", str(pytester.path / "out"))
        return pytester.runpytest_subprocess(*words, *folders, "-p", "no:cacheprovider")

    return start


def names(result: Any) -> set[str]:
    found = {line.partition("::")[2] for line in result.outlines if "::" in line}
    return {one.partition("[")[2].rstrip("]") for one in found if one.startswith("test_edge_macs")}


def test_the_folder_alone_asks_no_edge(collected):
    result = collected(os.path.dirname(EDGE), "--co", "-q", "--model=digits_mlp")
    assert any("test_size" in line for line in result.outlines)
    assert not any("test_edge" in line for line in result.outlines)


def test_fp32_and_the_fastest_certified_of_each_class_are_asked(collected):
    known = [
        CERTIFIED,
        {**CERTIFIED, "technique": "openvino", "speed": 3.0},
        {**CERTIFIED, "technique": "low_rank:0.5", "class": "B", "speed": 1.1},
        {**CERTIFIED, "technique": "gone_plugin", "class": "C", "speed": 9.0},
        {**CERTIFIED, "technique": "none", "speed": 99.0},
    ]
    result = collected(EDGE, "--co", "-q", "--model=digits_mlp", known=tuple(known))
    wanted = ("none", "openvino", "low_rank:0.5")
    assert names(result) == {f"digits_mlp-{one}-cpu" for one in wanted}


def test_a_named_technique_takes_the_place_of_the_certified(collected):
    words = (EDGE, "--co", "-q", "--model=digits_mlp", "--technique=dynamic_int8")
    result = collected(*words, known=(CERTIFIED,))
    assert names(result) == {"digits_mlp-none-cpu", "digits_mlp-dynamic_int8-cpu"}


def test_a_plan_tells_limits_and_measures_nothing(collected):
    result = collected(EDGE, "--plan", "--model=digits_mlp")
    assert result.ret == 0
    assert "digits_mlp-none-cpu" in "\n".join(result.outlines)


def settings(**changes: Any) -> Any:
    given = {"techniques": (), "models": ("digits_mlp",), "targets": ("cpu",), "matrix": "standard"}
    return SimpleNamespace(**{**given, **changes})


def test_where_nothing_is_certified_it_says_what_to_run(tmp_path):
    known = Certified(tmp_path / "none.json")
    cells = certified.chosen(catalog.read(), settings(), known)
    assert [cell.id for cell in cells] == ["digits_mlp-none-cpu"]
    (said,) = certified.unknown(cells, settings(), known)
    assert "pytest suites/test_gates.py --model digits_mlp --target cpu certifies" in said
    assert certified.unknown(cells, settings(techniques=("none",)), known) == []


def test_half_precision_is_told_beside_fp32_on_its_device(tmp_path):
    chosen = certified.chosen(
        catalog.read(), settings(targets=("bf16_cpu",)), Certified(tmp_path / "none.json")
    )
    assert [cell.id for cell in chosen] == ["digits_mlp-none-cpu", "digits_mlp-none-bf16_cpu"]


def judged(technique: str, **statuses: str) -> list[dict[str, Any]]:
    gates = ("evidence", "reload", "accuracy", "size")
    found = [verdict("digits_mlp", technique, gate, None) for gate in gates]
    found.append(verdict("digits_mlp", technique, "speed", 1))
    return [{**one, "status": statuses.get(one["gate"], "PASS")} for one in found]


def test_a_run_leaves_what_it_certified_and_takes_back_what_it_did_not(tmp_path):
    known = Certified(tmp_path / certified.FILE)
    known.add(Records(run_record(), [*judged("onnxruntime"), *judged("dynamic_int8")]))
    known.save()
    again = Certified(tmp_path / certified.FILE)
    assert set(again.known) == {"digits_mlp-onnxruntime-cpu", "digits_mlp-dynamic_int8-cpu"}
    one = again.known["digits_mlp-onnxruntime-cpu"]
    assert one["weights"] == run_record()["models"]["digits_mlp"]["sha256"]
    assert one["speed"] == 2.0
    lost = judged("onnxruntime", accuracy="FAIL")
    partly = [record for record in judged("dynamic_int8") if record["gate"] == "evidence"]
    again.add(Records(run_record(), [*lost, *partly]))
    assert set(again.known) == {"digits_mlp-dynamic_int8-cpu"}


def test_what_chooses_its_pipeline_itself_is_certified_by_no_name_of_its_own(tmp_path):
    known = Certified(tmp_path / certified.FILE)
    records = judged("auto")
    records[0]["evidence"] = {**records[0]["evidence"], "found": {"pipeline": "onnxruntime"}}
    known.add(Records(run_record(), records))
    assert known.known == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', '{"a": {"model": "m"}}', '{"a": {"speed": "fast"}}']
)
def test_a_damaged_file_certifies_nothing(tmp_path: Path, text: str):
    file = tmp_path / certified.FILE
    file.write_text(text)
    assert Certified(file).known == {}


@pytest.mark.parametrize(
    ("claims", "dtype", "found"),
    [
        (["runtime", "integer_kernels"], "float32", ("int8", 1)),
        (["integer_weights"], "float32", ("float32", 1)),
        (["half"], "bfloat16", ("bfloat16", 2)),
        (["runtime"], "float32", ("float32", 4)),
    ],
)
def test_the_format_follows_what_the_artifact_claims(claims, dtype, found):
    assert edge_verdicts.number_format(claims, dtype) == found
