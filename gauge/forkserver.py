"""The process that workers are forked from: it has the heavy modules loaded and never computes.

Importing torch takes seconds and forking a process that has it takes milliseconds. A fork of a
process that has already computed can hang in OpenMP, so this one only imports, forks and reaps.
Run by gauge.isolation as `python -m gauge.forkserver FD MODULE…`; speaks JSON lines on FD.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is either whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def describe(error: BaseException) -> dict[str, str]:
    """An exception as plain data."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def work(job: dict[str, Any]) -> None:
    """Run one job in a forked worker and write its result; never returns."""
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # The kernel's own choice of victim, should memory run out before the watchdog sees it.
    Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 0
    try:
        module, _, function = job["function"].partition(":")
        result = {"result": getattr(importlib.import_module(module), function)(job["arguments"])}
        text = json.dumps(result, allow_nan=False)
    except BaseException as error:  # noqa: BLE001 - a worker reports whatever ended it
        traceback.print_exc()
        text = json.dumps({"error": describe(error)})
        code = 1
    write_atomically(Path(job["result"]), text)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: interpreter shutdown in a fork would run the server's own finalisers.
    os._exit(code)


class Server:
    """Forks a worker for each job line and reports its pid and, later, its wait status."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.workers: dict[int, int] = {}
        self.buffer = b""

    def send(self, message: dict[str, Any]) -> None:
        self.channel.sendall(json.dumps(message).encode() + b"\n")

    def start(self, job: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            die_with_parent()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self.channel.close()
            work(job)
        self.workers[pid] = job["id"]
        self.send({"id": job["id"], "pid": pid})

    def reap(self) -> None:
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in self.workers:
                self.send({"id": self.workers.pop(pid), "status": status})

    def stop(self) -> None:
        for pid in self.workers:
            os.killpg(pid, signal.SIGKILL)
        os._exit(0)

    def receive(self) -> None:
        data = self.channel.recv(1 << 16)
        if not data:
            self.stop()
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.start(json.loads(line))

    def serve(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self.channel, selectors.EVENT_READ, self.receive)
        selector.register(reader, selectors.EVENT_READ, lambda: os.read(reader, 1024))
        self.send({"ready": True})
        while True:
            for key, _ in selector.select():
                key.data()
            self.reap()


def main() -> None:
    """Load the modules named on the command line, then serve until the parent goes away."""
    # Ctrl-C reaches the whole terminal group; the parent decides what stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    channel = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(channel.fileno(), False)
    server = Server(channel)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' own import-time notices
            for module in sys.argv[2:]:
                importlib.import_module(module)
    except BaseException as error:
        server.send({"error": describe(error)})
        raise
    server.serve()


if __name__ == "__main__":
    main()
