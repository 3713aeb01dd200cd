"""Turns on a device, held by real processes: who is alone, who goes beside whom, who goes first."""

from __future__ import annotations

import itertools
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from running import open_to_all

from gauge.turns import VARIABLE, LockError, Turns

# Holds a turn until its standard input closes; writes when it has it and when it gives it back.
HOLDER = """
import sys, time
from pathlib import Path
from gauge.turns import Turns
folder, name, mode = sys.argv[1:]
log = Path(folder, "log").open("a")
def tell(what):
    log.write(f"{name} {what}\\n")
    log.flush()
def waiting(what):
    if not told:
        tell("waits")
    told.append(what)
told = []
with Turns("cpu", Path(folder)).hold(exclusive=mode == "timing", waiting=waiting):
    tell("has")
    sys.stdin.read()
    tell("leaves")
"""


class Host:
    """Processes that hold turns in one folder, and what they have told."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, name: str, mode: str) -> None:
        """A holder that has its turn, or its place in the queue."""
        command = [sys.executable, "-c", HOLDER, str(self.folder), name, mode]
        self.running[name] = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=self.root)
        self.until(f"{name} has", f"{name} waits")

    def until(self, *lines: str) -> None:
        deadline = time.monotonic() + 60
        while not set(lines) & set(self.told()):
            assert time.monotonic() < deadline, f"none of {lines} came: {self.told()}"
            time.sleep(0.01)

    def told(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def end(self, name: str, number: int | None = None) -> None:
        """Let it give its turn back, or end it by a signal."""
        process = self.running.pop(name)
        if number is not None:
            process.send_signal(number)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)

    def holds(self, name: str) -> bool:
        return f"{name} has" in self.told()


@pytest.fixture
def host(tmp_path, root):
    made = Host(tmp_path, root)
    yield made
    for process in made.running.values():
        process.kill()
        process.wait()
        process.stdin.close()


def test_timing_waits_for_timing_and_goes_on_when_it_is_given_back(host):
    host.start("one", "timing")
    host.until("one has")
    host.start("two", "timing")
    assert not host.holds("two")
    host.end("one")
    host.until("two has")
    assert host.told().index("one leaves") < host.told().index("two has")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_frees_the_device_and_a_killed_waiter_its_place(host, number):
    host.start("one", "timing")
    host.until("one has")
    host.start("two", "timing")
    host.start("three", "timing")
    host.end("two", number)
    assert not host.holds("three")
    host.end("one", number)
    host.until("three has")
    assert not host.holds("two")


def test_builds_go_beside_each_other_and_timing_waits_for_all_of_them(host):
    host.start("one", "build")
    host.start("two", "build")
    host.until("one has")
    host.until("two has")
    host.start("timing", "timing")
    host.end("one")
    time.sleep(0.2)
    assert not host.holds("timing")
    host.end("two")
    host.until("timing has")


def test_timing_is_not_starved_by_builds_nor_builds_by_timing(host):
    """Who asks later does not go ahead, even where the device would take it at once."""
    host.start("one", "build")
    host.until("one has")
    host.start("timing", "timing")
    host.start("late", "build")
    host.start("later", "timing")
    assert not host.holds("late")
    host.end("one")
    host.until("timing has")
    assert not host.holds("late")
    host.end("timing")
    host.until("late has")
    assert not host.holds("later")
    host.end("late")
    host.until("later has")


def test_a_turn_that_is_taken_again_at_once_lets_others_between(tmp_path):
    """A run that times process after process must not keep another one out."""
    order = []

    def times(name: str) -> None:
        for _ in range(4):
            with Turns("cpu", tmp_path).hold(exclusive=True):
                order.append(name)
                time.sleep(0.02)

    threads = [threading.Thread(target=times, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes >= 6, order


def test_many_processes_never_overlap(tmp_path, root):
    """Each adds to a file in two steps, which any overlap would tear."""
    code = (
        "import sys; from pathlib import Path; from gauge.turns import Turns\n"
        "total = Path(sys.argv[1], 'total')\n"
        "for _ in range(5):\n"
        "    with Turns('cpu', Path(sys.argv[1])).hold(exclusive=True):\n"
        "        total.write_text(str(int(total.read_text()) + 1))\n"
    )
    (tmp_path / "total").write_text("0")
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=root) for _ in range(6)]
    assert [one.wait(60) for one in running] == [0] * 6
    assert (tmp_path / "total").read_text() == "30"


def test_who_waits_learns_for_what_and_for_how_long(host, tmp_path):
    host.start("one", "timing")
    host.until("one has")
    seen = []

    def waiting(what: str) -> None:
        if not seen:
            host.end("one")
        seen.append(what)

    with Turns("cpu", tmp_path).hold(exclusive=False, waiting=waiting) as waited:
        assert set(seen) == {"timing"}
        assert waited > 0
    with Turns("cpu", tmp_path).hold(exclusive=False, waiting=seen.append) as waited:
        assert waited < 1
    host.start("build", "build")
    host.until("build has")

    def built(what: str) -> None:
        seen.append(what)
        host.running and host.end("build")

    with Turns("cpu", tmp_path).hold(exclusive=True, waiting=built):
        assert seen[-1] == "builds"


def test_devices_have_turns_of_their_own(tmp_path):
    with (
        Turns("cpu", tmp_path).hold(exclusive=True),
        Turns("gpu-0000-17-00", tmp_path).hold(exclusive=True) as waited,
    ):
        assert waited < 1


def test_the_file_is_everybody_s_and_nothing_is_written_into_it(tmp_path):
    before = os.umask(0o077)
    try:
        with Turns("cpu", tmp_path).hold(exclusive=True):
            pass
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o666
    assert file.read_bytes() == b""


def test_a_file_that_cannot_be_used_is_named_with_the_way_out(tmp_path):
    with pytest.raises(LockError, match=rf"{tmp_path}/none/optgauge-cpu\.lock.*{VARIABLE}"):
        Turns("cpu", tmp_path / "none").check()
    (tmp_path / "real").write_text("")
    (tmp_path / "optgauge-cpu.lock").symlink_to(tmp_path / "real")
    with pytest.raises(LockError, match="cannot be opened"):
        Turns("cpu", tmp_path).check()
    os.mkfifo(tmp_path / "optgauge-gpu.lock")
    with pytest.raises(LockError, match="no regular file"):
        Turns("gpu", tmp_path).check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_shares_it(tmp_path, root):
    open_to_all(tmp_path)
    tmp_path.chmod(0o1777)
    Turns("cpu", tmp_path).check()
    held = Turns("cpu", tmp_path).hold(exclusive=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setuid(65534)
            seen = []

            def waiting(what: str) -> None:
                seen.append(what)
                raise TimeoutError

            try:
                with held, Turns("cpu", tmp_path).hold(exclusive=True, waiting=waiting):
                    pass
            except TimeoutError:
                code = 0 if seen == ["builds"] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_folder_is_the_same_whatever_tmpdir_is(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    before = Turns("cpu").path
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert Turns("cpu").path == before
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert Turns("cpu").path.parent == tmp_path
