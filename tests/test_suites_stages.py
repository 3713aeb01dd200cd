"""--stage build and --stage measure: one machine trains, another one only measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import PLUGINS, ROOT, Ran, suites

from reports import records

MODEL = "--model=digits_mlp"
TECHNIQUES = ("--technique=none", "--technique=dynamic_int8", "--technique=refuses_late")
PLUGIN = f"--plugin={PLUGINS / 'stages.py'}"
STILL = ("-k", "not speed and not memory")

OTHER_MACHINE = """
import suites.keys
suites.keys.cpu_flags = lambda: ["another_instruction_set"]
"""


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builder")


@pytest.fixture(scope="module")
def built(builder: Path) -> Ran:
    return suites(builder / "out", builder / "cache", MODEL, *TECHNIQUES, PLUGIN, "--stage=build")


def stages(ran: Ran) -> set[str]:
    """The stages of cells that progress lines tell of: `train`, `apply`, …

    A line may also tell that a job waits for other tests' timing, whatever the job is.
    """
    told = [line for line in ran.output.splitlines() if "] digits_mlp" in line]
    lines = [line for line in told if ", waiting for" not in line]
    return {line.partition("] ")[2].partition(": ")[2].partition(",")[0] for line in lines}


def test_a_build_trains_and_optimises_and_measures_nothing(built):
    assert built.code == pytest.ExitCode.OK, built.output
    assert stages(built) == {"train", "baseline", "apply"}
    assert not built.report.exists()
    assert "3 cells: 2 built now, 0 built already, 1 not to be built, 0 failed" in built.output
    assert "REFUSED: this model is too small for it" in built.output


@pytest.fixture(scope="module")
def measured(built: Ran, builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What another machine, with another processor and a fresh cache, measures."""
    folder = tmp_path_factory.mktemp("measurer")
    (folder / "other_machine.py").write_text(OTHER_MACHINE)
    for command, cache in (("export", builder / "cache"), ("import", folder / "cache")):
        words = ["-m", "suites", "cache", command, str(builder / "a.tar"), "--cache", str(cache)]
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    return suites(
        folder / "out",
        folder / "cache",
        *(MODEL, *TECHNIQUES, "--technique=low_rank:0.5", PLUGIN, "--stage=measure", *STILL),
        *("-p", "other_machine"),
        environment={"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"},
    )


def test_another_machine_measures_and_neither_trains_nor_optimises(measured):
    assert stages(measured) == {"baseline", "examine"}
    for technique in ("none", "dynamic_int8"):
        found = measured.verdicts(f"digits_mlp-{technique}-cpu")
        assert {one["status"] for one in found.values()} == {"PASS"}, measured.output
    assert measured.run["options"]["stage"] == "measure"


def test_what_was_not_built_is_an_error_that_names_it(measured):
    found = measured.verdicts("digits_mlp-low_rank:0.5-cpu")
    for one in found.values():
        assert one["status"] == "ERROR"
        assert one["reason"].startswith("not built: the artifact of digits_mlp-low_rank:0.5-cpu")
    assert measured.code == pytest.ExitCode.TESTS_FAILED


def test_what_refused_when_it_was_built_is_refused_with_its_reason(measured):
    found = measured.verdicts("digits_mlp-refuses_late-cpu")
    assert {(one["status"], one["reason"]) for one in found.values()} == {
        ("REFUSED", "this model is too small for it (when it was built)")
    }


def test_without_any_baseline_each_cell_names_it(tmp_path):
    words = (MODEL, "--technique=none", "--stage=measure", *STILL)
    ran = suites(tmp_path / "out", tmp_path / "cache", *words)
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert not stages(ran)
    found = records.read(ran.report).verdicts
    assert all(one["reason"].startswith("not built: the baseline of digits_mlp") for one in found)


def test_a_second_build_finds_it_all_and_a_broken_technique_fails(built, builder):
    words = (MODEL, "--technique=none", "--technique=breaks", PLUGIN, "--stage=build")
    again = suites(builder / "out", builder / "cache", *words)
    assert again.code == pytest.ExitCode.TESTS_FAILED
    assert "0 built now, 1 built already, 0 not to be built, 1 failed" in again.output
    assert "no such layer" in again.output
    only = suites(builder / "out", builder / "cache", *words, "-k", "breaks")
    assert only.code == pytest.ExitCode.TESTS_FAILED
    kept = [json.loads(path.read_text()) for path in builder.glob("cache/stops/*/entry.json")]
    assert {"ERROR", "REFUSED"} == {one["meta"]["status"] for one in kept}


def test_where_nothing_could_be_built_the_exit_code_is_5(built, builder):
    words = (MODEL, "--technique=refuses_late", PLUGIN, "--stage=build")
    ran = suites(builder / "out", builder / "cache", *words)
    assert ran.code == pytest.ExitCode.NO_TESTS_COLLECTED, ran.output


def test_without_the_device_baselines_are_trained_all_the_same(built, builder):
    words = (MODEL, "--technique=none", "--target=cuda", "--stage=build")
    ran = suites(builder / "out", builder / "cache", *words)
    if "1 built already" in ran.output or "1 built now" in ran.output:
        pytest.skip("this machine has a CUDA device")
    assert "only the baseline was trained here" in ran.output
    assert ran.code == pytest.ExitCode.NO_TESTS_COLLECTED


def test_several_workers_build_and_one_process_counts(built, builder, tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    words = (MODEL, "--technique=none", "--technique=dynamic_int8", "--technique=low_rank:0.5")
    ran = suites(tmp_path / "out", builder / "cache", *words, "--stage=build", "-n", "2")
    assert ran.code == pytest.ExitCode.OK, ran.output
    assert "3 cells: 1 built now, 2 built already, 0 not to be built, 0 failed" in ran.output
