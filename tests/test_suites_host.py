"""Several runs and workers on one host: no two times at once, who waits is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running import PLUGINS, ROOT, Ran, assert_alone, suites

from gauge.turns import VARIABLE, Turns
from reports import records

ONE = ("--model=digits_mlp", "--technique=none", "--batch=1", "--effort=quick")
TRACED = f"--plugin={PLUGINS / 'traced.py'}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    suites(folder / "out", folder, *ONE, "-k", "evidence")
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {VARIABLE: str(folder), "TRACE": str(folder / "trace")}


def test_two_runs_at_once_take_turns_at_timing_and_both_come_to_an_end(cache, tmp_path):
    def run(name: str) -> Ran:
        words = (*ONE, TRACED, "-k", "speed")
        return suites(tmp_path / name, cache, *words, environment=environment(tmp_path))

    with ThreadPoolExecutor() as pool:
        ran = list(pool.map(run, ("one", "two")))
    for one in ran:
        assert one.code in (0, 1), one.output
        assert one.run["aa"][0]["processes"] == 4
        seen = one.verdicts("digits_mlp-none-cpu")["speed-b1"]["evidence"]["machine"]
        assert all(process["load"] > 0 and process["waited_s"] >= 0 for process in seen)
    assert_alone(tmp_path / "trace", least=12)
    # Each run's processes came between the other's: both waited, and say so.
    assert all(one.run["waited_s"]["timing"] > 0 for one in ran)
    assert any("another run's or worker's timing" in one.output for one in ran)


def test_a_run_waits_for_another_run_s_timing_and_tells(cache, tmp_path):
    words = ["--report", str(tmp_path / "out"), "--cache", str(cache), *ONE, "-k", "evidence"]
    with Turns("cpu", tmp_path).hold(exclusive=True):
        running = subprocess.Popen(
            [sys.executable, "-u", "-m", "pytest", "suites", "-p", "no:cacheprovider", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment(tmp_path)},
        )
        assert running.stdout is not None
        told = ""
        while "waiting for another run's or worker's timing (cpu)" not in told:
            line = running.stdout.readline()
            assert line, told
            told += line
        assert "train" not in told
        assert "examine" not in told
    told += running.stdout.read()
    running.stdout.close()
    assert running.wait(60) == 0, told
    assert re.search(r"waited \d+ s for another run's or worker's timing", told)
    assert records.read(tmp_path / "out").run["waited_s"]["timing"] >= 1


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_lock_that_cannot_be_used_stops_the_run_before_it_measures(cache, tmp_path, workers):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    nowhere = tmp_path / "none"
    ran = suites(tmp_path / "out", cache, *ONE, *workers, environment={VARIABLE: str(nowhere)})
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert f"{nowhere}/optgauge-cpu.lock" in ran.output
    assert VARIABLE in ran.output


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_contaminated_run_is_no_ground_to_release_on(cache, tmp_path, workers):
    """FP32's copy does real extra work, by a plug-in; nothing else stands against a release."""
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    policy = tmp_path / "policy.toml"
    policy.write_text('[[limit]]\ngate = "speed"\nexpect = false\nreason = "reported only"\n')
    ran = suites(
        tmp_path / "out",
        cache,
        *(*ONE, "-k", "speed", "--gate=release", f"--policy={policy}", *workers),
        f"--plugin={PLUGINS / 'contaminated.py'}",
        environment={VARIABLE: str(tmp_path)},
    )
    verdict = ran.verdicts("digits_mlp-none-cpu")["speed-b1"]
    assert (verdict["status"], verdict["value"] > 0) == ("NO_EXPECTATION", True), ran.output
    assert ran.run["contaminated"] is True
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert "CONTAMINATED" in ran.output
    for page in ("index.html", "summary.md"):
        assert "contaminated" in (ran.report / page).read_text()
