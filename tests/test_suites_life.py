"""A run's life: cached the second time, stopped and resumed, damaged and repaired, exported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from running import ROOT, Ran, suites

from reports import records

CELLS = ("--model=digits_mlp", "--technique=none", "--technique=onnxruntime", "--effort=quick")
STILL = ("-k", "not speed and not memory")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Ran:
    folder = tmp_path_factory.mktemp("first")
    return suites(folder / "out", cache, *CELLS, "--export", str(folder / "export"), "-v")


def statuses(ran: Ran) -> dict[tuple[str, str], str]:
    return {
        (one["id"], one["gate"]): one["status"]
        for one in records.read(ran.report).verdicts
        if one["gate"] not in ("speed", "memory")
    }


def stages(ran: Ran) -> list[str]:
    """The stages that progress lines tell of: `train`, `apply`, …"""
    lines = [line for line in ran.output.splitlines() if " gates] digits_mlp" in line]
    return [line.partition(": ")[2].partition(",")[0] for line in lines]


def test_a_run_writes_what_the_design_lists(first):
    names = {path.name for path in first.report.iterdir()}
    assert names == {"records.jsonl", "samples", "index.html", "summary.md"}
    assert len(records.read(first.report).verdicts) == 2 * 9
    with np.load(first.report / "samples" / "digits_mlp-none-cpu.npz") as stored:
        assert stored["baseline"].shape == stored["candidate"].shape == (1000,)


def test_the_run_s_line_says_what_it_was(first):
    run = first.run
    assert run["complete"] is True
    assert run["machine"]["threads"] >= 1
    assert run["models"]["digits_mlp"]["evaluation"] == 1000
    assert len(run["models"]["digits_mlp"]["sha256"]) == 64
    assert run["aa"][0]["processes"] == 4
    assert run["command"].startswith("pytest suites")


def test_v_shows_verdicts_with_their_numbers(first):
    assert "PASS" in first.output
    assert "test_accuracy[digits_mlp-onnxruntime-cpu]" in first.output


def test_a_second_run_trains_and_optimises_nothing_and_says_the_same(first, cache, tmp_path):
    assert {"train", "apply"} <= set(stages(first))
    second = suites(tmp_path / "out", cache, *CELLS, *STILL)
    assert not {"train", "apply"} & set(stages(second))
    assert statuses(second) == statuses(first)


def test_a_damaged_artifact_is_named_and_built_again(first, cache, tmp_path):
    (victim,) = [path for path in cache.glob("artifacts/*/artifact/*.onnx") if path.stat().st_size]
    victim.write_bytes(victim.read_bytes()[:-7] + b"damaged")
    again = suites(tmp_path / "out", cache, *CELLS, *STILL)
    assert f"damaged cache entry, built again: {victim}: differs" in again.output
    assert statuses(again) == statuses(first)


def test_what_passed_is_exported_with_a_snippet_that_loads_it(first):
    folder = first.report.parent / "export"
    passed = {
        cell
        for cell in {one["id"] for one in records.read(first.report).verdicts}
        if {one["status"] for one in first.verdicts(cell).values()} <= {"PASS", "NO_EXPECTATION"}
    }
    assert {path.name for path in folder.iterdir()} == passed if passed else not folder.exists()
    for cell in passed:
        script = folder / cell / "load.py"
        code = (
            f"import runpy, torch; made = runpy.run_path({str(script)!r})['optimized']; "
            "print(made(torch.zeros(3, 64)).shape)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        assert "torch.Size([3, 10])" in done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_keeps_what_it_has_and_resume_measures_the_rest(cache, tmp_path, number):
    report = tmp_path / "out"
    command = [sys.executable, "-u", "-m", "pytest", "suites", "-p", "no:cacheprovider"]
    command += ["--report", str(report), "--cache", str(cache), *CELLS]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "digits_mlp-onnxruntime-cpu: speed" in line:
            break
    time.sleep(0.2)
    running.send_signal(number)
    output = running.stdout.read()
    running.wait(60)
    running.stdout.close()
    if number == signal.SIGINT:
        assert running.returncode == pytest.ExitCode.INTERRUPTED, output
        kept = records.read(report)
        assert kept.run["complete"] is False
        assert "interrupted" in kept.run["interrupted"]
        assert {one["gate"] for one in kept.verdicts} >= {"accuracy", "evidence"}
    resumed = suites(report, cache, *CELLS, "--resume")
    assert resumed.run["complete"] is True
    assert not {"train", "baseline", "apply", "examine", "memory"} & set(stages(resumed))
    assert "speed" in stages(resumed)


def test_resume_after_a_change_measures_everything_and_says_why(cache, tmp_path):
    suites(tmp_path / "out", cache, *CELLS, *STILL)
    again = suites(tmp_path / "out", cache, *CELLS, *STILL, "--resume", "--seed=1")
    assert "--resume: measuring everything again, since these changed: seed" in again.output
    assert "examine" in stages(again)


def test_nothing_private_is_in_what_a_run_writes(cache, tmp_path):
    secret = "planted-secret-token-value"
    ran = suites(
        tmp_path / "out",
        cache,
        *CELLS,
        *STILL,
        environment={"MY_TOKEN": secret, "HOME": str(tmp_path / "home-of-somebody")},
    )
    for path in ran.report.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for private in (secret, "home-of-somebody", str(cache), os.uname().nodename):
                assert private.encode() not in content, (path, private)


def test_records_are_strict_json(first):
    def refuse(name: str) -> None:
        raise AssertionError(name)

    for line in (first.report / "records.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_without_a_network_everything_still_runs(cache, tmp_path):
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("this system lets nobody make a network namespace")
    command = ["unshare", "-rn", sys.executable, "-m", "pytest", "suites", *CELLS, *STILL]
    command += ["-p", "no:cacheprovider", "--cache", str(tmp_path / "fresh")]
    done = subprocess.run(
        [*command, "--report", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
