"""suites/test_realtime.py and test_cloud.py as a user runs them, in short runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import PLUGINS, ROOT, Ran, suites

from gauge.serving import loadgen
from suites import serving

pytest.importorskip(loadgen.PACKAGE, reason="MLCommons LoadGen is not installed")

CELL = "digits_mlp-none-cpu"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Ran:
    """A deadline that nothing can meet, and techniques that do wrong under a load."""
    return suites(
        tmp_path_factory.mktemp("hopeless") / "out",
        cache,
        f"--plugin={PLUGINS / 'loads.py'}",
        "--model=digits_mlp",
        "--technique=dies",
        "--technique=guesses",
        "--technique=gives_up",
        "--effort=quick",
        "--deadline=0.001",
        "-k=not gives_up or latency",
        what="suites/test_realtime.py",
    )


def test_a_deadline_that_cannot_be_met_fails_by_how_much(ran):
    verdicts = ran.verdicts(CELL)
    found = verdicts["realtime_latency"]
    assert (ran.code, found["status"]) == (1, "FAIL"), ran.output
    assert found["value"] > 1
    assert "of the deadline of 0.001 ms" in found["reason"]
    assert "too long; the nearest policy is batches of up to 1 with no wait" in found["reason"]
    assert "no batching policy keeps the deadline" in verdicts["realtime_rate"]["reason"]
    assert verdicts["realtime_rate"]["evidence"]["search"]["nearest"]["largest_batch"] == 1


def test_right_answers_under_load_pass(ran):
    found = ran.verdicts(CELL)["realtime_answers"]
    assert found["status"] == "PASS", found
    assert found["evidence"]["issued"] == found["evidence"]["answered"] == 1000


def test_a_fast_wrong_server_fails(ran):
    found = ran.verdicts("digits_mlp-guesses-cpu")["realtime_answers"]
    assert found["status"] == "FAIL", found
    assert found["value"] > 0.5


def test_a_server_that_dies_is_an_error_with_its_signal_and_every_query_counted(ran):
    for found in ran.verdicts("digits_mlp-dies-cpu").values():
        assert found["status"] == "ERROR", found
        assert "killed by SIGSEGV under load" in found["reason"]
        numbers = [int(one) for one in re.findall(r"\b\d+\b", found["reason"])]
        issued, answered, lost, after = numbers
        assert issued == answered + lost
        assert lost >= 1
        assert after >= 1


def test_a_model_that_raises_is_an_error_in_its_own_words(ran):
    (found,) = ran.verdicts("digits_mlp-gives_up-cpu").values()
    assert found["status"] == "ERROR"
    assert "ZeroDivisionError: nothing left to answer with" in found["reason"]


def test_logs_are_stored_with_the_run_and_hold_no_names(ran):
    logs = sorted((ran.report / "load" / CELL).rglob("mlperf_log_*.txt"))
    assert {path.parent.name for path in logs} >= {"single-stream", "multi-stream"}
    text = "".join(path.read_text() for path in logs)
    assert "result_validity" in text
    assert str(Path.home()) + "/" not in text
    told = ran.verdicts(CELL)["realtime_latency"]["evidence"]
    assert told["logs"] == f"load/{CELL}"
    assert 0 < told["overhead"]["loadgen"]["p50_s"] < told["overhead"]["server"]["p50_s"]


def test_the_record_has_the_command_that_repeats_it(ran):
    command = ran.verdicts(CELL)["realtime_latency"]["command"]
    assert command.startswith("pytest suites/test_realtime.py --target cpu --model digits_mlp")
    assert "--deadline 0.001" in command


def test_the_page_and_the_terminal_tell_what_to_deploy(ran):
    page = (ran.report / "index.html").read_text()
    assert "Which artifact, what it gains over FP32, at what risk" in page
    assert "digits_mlp on cpu, real time: none\n    none of 4 artifacts keeps" in ran.output
    assert "LoadGen's own overhead p50" in ran.output
    assert "## Deployment" in (ran.report / "summary.md").read_text()


def collected(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_loads_are_collected_where_they_are_named_only(cache):
    words = ("--model=digits_mlp", "--technique=none", f"--cache={cache}")
    assert "realtime" not in collected("suites/", *words)
    found = collected("suites/test_cloud.py", *words)
    assert "test_cloud_misses[digits_mlp-none-cpu]" in found
    assert "test_speed" not in found
    assert "test_realtime" not in found


def test_a_trace_with_a_gap_is_a_usage_error_with_its_line(tmp_path, cache):
    path = tmp_path / "trace.csv"
    path.write_text("seconds,rate\n0,1\n10,2\n40,2\n")
    found = collected("suites/test_cloud.py", f"--traffic={path}", f"--cache={cache}")
    assert "--traffic: trace.csv:4: found 40 s after 10 s, which is a gap" in found


def test_pytest_s_own_trace_with_a_file_says_what_was_meant(tmp_path, cache):
    path = tmp_path / "trace.csv"
    path.write_text("seconds,rate\n0,1\n10,2\n")
    found = collected("suites/test_cloud.py", "--trace", str(path), f"--cache={cache}")
    assert f"starts its debugger, expected --traffic {path}" in found


@pytest.mark.parametrize("text", ["0", "-5", "soon", "nan"])
def test_a_deadline_that_makes_no_sense_is_a_usage_error(text):
    assert "--deadline: found" in collected("suites/test_realtime.py", f"--deadline={text}")


def test_layouts_fill_the_host_and_hold_one_thread_alone():
    assert serving.layouts(1) == [(1, 1)]
    assert serving.layouts(2) == [(1, 1), (2, 1), (1, 2)]
    for cpus in range(1, 33):
        assert all(one * threads <= cpus for one, threads in serving.layouts(cpus))
        assert (1, cpus) in serving.layouts(cpus)
