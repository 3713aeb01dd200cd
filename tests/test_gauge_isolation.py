"""Workers: every way a job can end is named, and ends nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gauge.isolation import Workers, WorkerStartError

JOBS = """
import ctypes, os, signal, subprocess, sys, time

def echo(a): return {"got": a, "pid": os.getpid()}
def fail(a): raise ValueError("first line\\nsecond line")
def crash(a): ctypes.string_at(0)
def kill(a): os.kill(os.getpid(), signal.SIGKILL)
def hang(a): time.sleep(600)
def leave(a): os._exit(7)
def shout(a): print("to the log"); subprocess.run(["echo", "from a child"]); return {}
def nan(a): return {"x": float("nan")}
def eat(a):
    kept = []
    while True:
        kept.append(b"x" * (32 << 20))
def orphan(a):
    return {"pid": subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid}
def feast(a):
    subprocess.run([sys.executable, "-c", "x = b'x' * (900 << 20); import time; time.sleep(600)"])
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "isolation_jobs.py").write_text(JOBS)
    path = f"{folder}:{Path(__file__).resolve().parent.parent}"
    with Workers([], {"PYTHONPATH": path}) as running:
        yield running


@pytest.fixture
def run(workers: Workers, tmp_path: Path):
    def start(name: str, **limits):
        limits = {"timeout": 60.0, **limits}
        return workers.run(f"isolation_jobs:{name}", {"n": 1}, log=tmp_path / "log", **limits)

    return start


def _ended(pid: int) -> bool:
    """Whether a process is gone, or dead and only waiting to be reaped."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_result_comes_back_from_another_process(run):
    outcome = run("echo")
    assert outcome.kind == "ok"
    assert outcome.result["got"] == {"n": 1}
    assert outcome.result["pid"] != os.getpid()


def test_every_job_has_a_fresh_process(run):
    assert run("echo").result["pid"] != run("echo").result["pid"]


def test_an_exception_is_named_with_its_first_line_and_kept_whole(run):
    outcome = run("fail")
    assert (outcome.kind, outcome.error_type) == ("exception", "ValueError")
    assert outcome.problem == "ValueError: first line"
    assert "second line" in outcome.message
    assert "in fail" in outcome.traceback


@pytest.mark.parametrize(("job", "name"), [("crash", "SIGSEGV"), ("kill", "SIGKILL")])
def test_a_signal_is_named(run, job, name):
    outcome = run(job)
    assert outcome.kind == "signal"
    assert name in outcome.problem


def test_a_hang_ends_at_the_limit(run):
    began = time.monotonic()
    outcome = run("hang", timeout=0.5)
    assert outcome.kind == "timeout"
    assert "0.5 s (--cell-timeout)" in outcome.problem
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("job", ["eat", "feast"])
def test_memory_of_the_worker_and_of_what_it_started_is_watched(run, job):
    outcome = run(job, memory_bytes=600 << 20)
    assert outcome.kind == "memory"
    assert "0.6 GiB (--cell-memory)" in outcome.problem


def test_an_exit_without_a_result_is_no_success(run):
    outcome = run("leave")
    assert outcome.kind == "exit"
    assert "exit code 7" in outcome.problem


def test_a_result_that_json_cannot_hold_is_an_error(run):
    assert run("nan").error_type == "ValueError"


def test_output_goes_to_the_log_and_not_to_the_terminal(run, tmp_path, capfd):
    run("shout")
    written = (tmp_path / "log").read_text().splitlines()
    assert {"to the log", "from a child"} <= set(written)
    assert capfd.readouterr().out == ""


def test_nothing_that_a_job_started_outlives_it(run):
    left = run("orphan").result["pid"]
    assert _ended(left)


def test_the_next_job_runs_after_the_fork_server_was_killed(workers, run):
    run("echo")
    workers._server.kill()
    workers._server.wait()
    assert run("echo").kind == "ok"


def test_ctrl_c_ends_the_worker_and_the_next_job_gets_its_own_answer(workers, run):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("hang", tick=interrupt)
    assert run("echo").result["got"] == {"n": 1}
    children = psutil.Process(workers._server.pid).children(recursive=True)
    assert children == []


def test_a_fork_server_that_cannot_start_says_why():
    with pytest.raises(WorkerStartError, match="no_such_module_at_all"):
        Workers(["no_such_module_at_all"]).start()


def test_workers_die_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "isolation_jobs.py").write_text(JOBS)
    code = f"""
import json, os, sys, threading
from pathlib import Path
from gauge.isolation import Workers
w = Workers([], {{"PYTHONPATH": {str(tmp_path)!r} + ":" + os.getcwd()}})
w.start()
print(w._server.pid, flush=True)
w.run("isolation_jobs:hang", {{}}, log=Path({str(tmp_path / "log")!r}), timeout=600)
"""
    root = Path(__file__).resolve().parent.parent
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE)
    server = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 20
    while not server.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    family = [server, *server.children(recursive=True)]
    assert len(family) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert all(_ended(one.pid) for one in family)


def test_jobs_are_plain_data(run, workers, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        workers.run("isolation_jobs:echo", {"x": float("nan")}, log=tmp_path / "l", timeout=9)
    assert json.loads(json.dumps(run("echo").result))
