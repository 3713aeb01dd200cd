"""Workers: each job runs in a process of its own, with a time and a memory limit.

A job is plain data (`module:function` and JSON arguments) and its result is JSON, so a crash, a
hang or a memory leak ends that job and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

POLL_SECONDS = 0.05
START_SECONDS = 180.0


class WorkerStartError(RuntimeError):
    """The fork server did not start; the message holds why."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    result: what the function returned, None unless it ended well.
    problem: one sentence naming the signal, limit or exception; None when it ended well.
    kind: "ok", "exception", "signal", "timeout", "memory" or "exit".
    error_type: the exception's class name, for kind "exception".
    """

    kind: str
    seconds: float
    result: Any = None
    problem: str | None = None
    error_type: str | None = None
    message: str | None = None
    traceback: str | None = None


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


class Workers:
    """Starts the fork server on first use and runs jobs in workers forked from it."""

    def __init__(
        self,
        preload: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._preload = list(preload)
        self._environment = dict(environment or {})
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._buffer = b""
        self._count = 0
        self._directory = tempfile.TemporaryDirectory(prefix="optgauge-")

    def start(self) -> None:
        """Start the fork server and wait until its modules are loaded."""
        ours, theirs = socket.socketpair()
        stderr = Path(self._directory.name) / "forkserver.log"
        with stderr.open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "gauge.forkserver", str(theirs.fileno()), *self._preload],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        theirs.close()
        self._channel, self._buffer = ours, b""
        message = self._receive(START_SECONDS)
        if message is None or "ready" not in message:
            why = message["error"]["traceback"] if message else ""
            text = stderr.read_text(errors="replace")
            self._kill_server()
            raise WorkerStartError(f"the workers' fork server did not start\n{why}{text}".rstrip())

    def close(self) -> None:
        """Stop the fork server and everything forked from it."""
        self._kill_server()
        self._directory.cleanup()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        function: str,
        arguments: dict[str, Any],
        *,
        log: Path,
        timeout: float,
        memory_bytes: int | None = None,
        tick: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run `module:function(arguments)` in a fresh worker and wait for it.

        log: where the worker's own output goes. timeout: seconds. memory_bytes: limit on the
        resident memory of the worker and what it started. tick: called about 20 times a second.
        """
        if self._server is None or self._server.poll() is not None:
            self.start()
        self._count += 1
        number = self._count
        result = Path(self._directory.name) / f"{number}.json"
        job = {
            "id": number,
            "function": function,
            "arguments": arguments,
            "log": str(log),
            "result": str(result),
        }
        assert self._channel is not None
        self._channel.sendall(json.dumps(job, allow_nan=False).encode() + b"\n")
        began = time.monotonic()
        pid: int | None = None
        limit: tuple[str, str] | None = None
        try:
            while True:
                message = self._receive(POLL_SECONDS)
                if message is not None and message.get("id") == number:
                    if "status" in message:
                        break
                    pid = message["pid"]
                elif self._server is None or self._server.poll() is not None:
                    raise WorkerStartError("the workers' fork server died while a job ran")
                if limit is None:
                    limit = self._over(pid, time.monotonic() - began, timeout, memory_bytes)
                    if limit and pid:
                        _kill_tree(pid)
                if tick is not None:
                    tick()
        except BaseException:
            if pid:
                _kill_tree(pid)
                # Wait for its end, or the next job would read this one's last message.
                self._drain(number)
            raise
        if pid:
            _kill_tree(pid)  # what the worker left running
        return self._outcome(message["status"], limit, result, time.monotonic() - began)

    def _over(
        self, pid: int | None, seconds: float, timeout: float, memory: int | None
    ) -> tuple[str, str] | None:
        if seconds > timeout:
            return "timeout", f"ran past the limit of {timeout:g} s (--cell-timeout)"
        if memory is None or pid is None:
            return None
        used = _resident(pid)
        if used <= memory:
            return None
        return "memory", (
            f"used {used / 2**30:.1f} GiB, more than the limit of "
            f"{memory / 2**30:.1f} GiB (--cell-memory)"
        )

    def _outcome(
        self, status: int, limit: tuple[str, str] | None, result: Path, seconds: float
    ) -> Outcome:
        if limit is not None:
            return Outcome(limit[0], seconds, problem=limit[1])
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name
            return Outcome("signal", seconds, problem=f"the worker was killed by {name}")
        code = os.WEXITSTATUS(status)
        if not result.exists():
            problem = f"the worker ended with exit code {code} and no result"
            return Outcome("exit", seconds, problem=problem)
        data = json.loads(result.read_text())
        result.unlink()
        if "error" not in data:
            return Outcome("ok", seconds, result=data["result"])
        error = data["error"]
        return Outcome(
            "exception",
            seconds,
            problem=f"{error['type']}: {_first_line(error['message'])}".rstrip(": "),
            error_type=error["type"],
            message=error["message"],
            traceback=error["traceback"],
        )

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        assert self._channel is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self._channel], [], [], wait)[0]:
                return None
            data = self._channel.recv(1 << 16)
            if not data:
                return None
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def _drain(self, number: int) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            message = self._receive(POLL_SECONDS)
            if message and message.get("id") == number and "status" in message:
                return
        self._kill_server()

    def _kill_server(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            for child in _descendants(self._server.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self._server.kill()
            self._server.wait()
        self._server = self._channel = None


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill_tree(pid: int) -> None:
    for child in _descendants(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _resident(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total
