"""The client's side: starts servers, hands queries out, and takes answers, or notes their loss.

A server that dies loses no query from the count: what it had not answered is told as lost, and
whoever waits for it is told at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe

import numpy as np
import psutil

from gauge.serving import wire
from gauge.serving.batching import Policy

Serve = Callable[[Connection], None]
"""Runs in the server's process until the connection is closed or says stop."""

_PR_SET_PDEATHSIG = 1


class ServerDied(Exception):
    """A server process ended, or its model raised, while it was needed."""


class Servers:
    """Server processes forked from this one, which must not have computed with torch before.

    cpus: those of each server, in turn; None leaves them to the scheduler. `complete` is called
    with ids and rows of bytes, from another thread: None for rows where the answers are lost.
    issued, answered, after: queries since `begin`; after: those that came when a server was gone.
    """

    def __init__(self, serve: Serve, cpus: Sequence[frozenset[int] | None]) -> None:
        self.complete: Callable[[list[int], np.ndarray | None], None] = lambda ids, rows: None
        self.issued = self.answered = self.after = 0
        self.problem: str | None = None
        self._lock = threading.Lock()
        self._taken = threading.Semaphore(0)
        self._closing = threading.Event()
        self._one = [_start(serve, own) for own in cpus]
        # Threads only after the last fork: a fork of a process with threads may inherit locks.
        self.ready = [self._receive_ready(one) for one in self._one]
        for one in self._one:
            one.reader = threading.Thread(target=self._read, args=(one,), daemon=True)
            one.reader.start()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lost(self) -> int:
        """Queries that were issued and will never be answered; 0 while all servers live."""
        return self.issued - self.answered if self.problem else 0

    def begin(self) -> None:
        """Count anew; ServerDied where there is nobody left to ask."""
        self.check()
        with self._lock:
            self.issued = self.answered = self.after = 0

    def cpu_seconds(self) -> float:
        """CPU time that the servers have used so far; those that are gone left out."""
        total = 0.0
        for one in self._one:
            with contextlib.suppress(psutil.NoSuchProcess):
                used = psutil.Process(one.pid).cpu_times()
                total += used.user + used.system
        return total

    def check(self) -> None:
        """ServerDied when a server ended early, with how, and every query counted."""
        if self.problem:
            raise ServerDied(
                f"{self.problem} under load: {self.issued} queries were issued, {self.answered} "
                f"answered and {self.lost} lost; {self.after} more came after its end"
            )

    def set(self, policy: Policy) -> None:
        """Have every server batch by this policy from now on; ServerDied when one is gone."""
        message = wire.plain(wire.POLICY, {"largest": policy.largest, "wait": policy.wait})
        for one in self._one:
            one.send(message)
        for _ in self._one:
            while not self._taken.acquire(timeout=0.5):
                self.check()

    def send(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Hand (id, sample) pairs out: one to the server that has least to do, many to all."""
        arrived = time.monotonic()
        with self._lock:
            if self.problem:
                self.after += len(pairs)
                shares: list[tuple[_Server, Sequence[tuple[int, int]]]] = []
            elif len(pairs) < len(self._one):
                shares = [(min(self._one, key=lambda one: len(one.open)), pairs)]
            else:
                count = len(self._one)
                shares = [(one, pairs[place::count]) for place, one in enumerate(self._one)]
            for one, share in shares:
                self.issued += len(share)
                one.open.update(number for number, _ in share)
        if not shares:
            self.complete([number for number, _ in pairs], None)
        for one, share in shares:
            one.send(wire.queries(arrived, share))

    def close(self) -> None:
        """End all servers and wait for them; no LoadGen run may be going on."""
        self._closing.set()
        for one in self._one:
            one.send(wire.plain(wire.STOP))
        deadline = time.monotonic() + 5
        for one in self._one:
            if one.reader is not None:
                one.reader.join(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                if not one.reaped:
                    os.kill(one.pid, signal.SIGKILL)
            one.reap()
            if one.reader is not None:
                one.reader.join()
            one.connection.close()

    def _receive_ready(self, one: _Server) -> dict:
        try:
            message = one.connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            self._kill()
            raise ServerDied(f"{one.end()} before it was ready") from None
        if message[:1] != wire.READY:
            self._kill()
            raise ServerDied(f"the server's model raised {json.loads(message[1:])}")
        return json.loads(message[1:])

    def _kill(self) -> None:
        for one in self._one:
            with contextlib.suppress(ProcessLookupError):
                if not one.reaped:
                    os.kill(one.pid, signal.SIGKILL)
            one.reap()

    def _read(self, one: _Server) -> None:
        """A server's messages until it ends."""
        problem = None
        while problem is None:
            try:
                message = one.connection.recv_bytes()
            except (EOFError, OSError):
                break
            letter, body = message[:1], message[1:]
            if letter == wire.ANSWERS:
                ids, rows = wire.read_answers(body)
                with self._lock:
                    if self.problem:
                        continue  # told as lost already, and nobody may be told twice
                    one.open.difference_update(ids)
                    self.answered += len(ids)
                self.complete(ids, rows)
            elif letter == wire.TAKEN:
                self._taken.release()
            else:
                problem = f"the server's model raised {json.loads(body)}"
        end = one.end()
        if problem or not one.stopping:
            self._fail(problem or end)
        # LoadGen keeps a log for each thread that completes queries, and one of its own threads
        # crashes now and then when such a thread ends while a run goes on.
        self._closing.wait()

    def _fail(self, problem: str) -> None:
        """All that is open is lost, also what the other servers would still answer."""
        with self._lock:
            self.problem = self.problem or problem
            lost = [number for one in self._one for number in one.open]
            for one in self._one:
                one.open.clear()
        if lost:
            self.complete(lost, None)


class _Server:
    """One server process."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid, self.connection = pid, connection
        self.open: set[int] = set()
        self.reader: threading.Thread | None = None
        self.status: int | None = None
        self.stopping = False
        self._sending = threading.Lock()
        self._reaping = threading.Lock()

    @property
    def reaped(self) -> bool:
        return self.status is not None

    def send(self, message: bytes) -> None:
        """Send it; a server that is gone is noticed by its reader."""
        self.stopping = self.stopping or message[:1] == wire.STOP
        with self._sending, contextlib.suppress(OSError):
            self.connection.send_bytes(message)

    def reap(self) -> int:
        with self._reaping:
            if self.status is None:
                _, self.status = os.waitpid(self.pid, 0)
            return self.status

    def end(self) -> str:
        """How the process ended, once it has, in words."""
        status = self.reap()
        if os.WIFSIGNALED(status):
            return f"the server process was killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"the server process ended with exit code {os.WEXITSTATUS(status)}"


def _start(serve: Serve, cpus: frozenset[int] | None) -> _Server:
    ours, theirs = Pipe()
    pid = os.fork()
    if pid:
        theirs.close()
        return _Server(pid, ours)
    code = 1
    try:
        # The kernel ends it with the client, however that ends.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        ours.close()
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        serve(theirs)
        code = 0
    finally:
        # Not sys.exit: interpreter shutdown in a fork would run the parent's finalisers.
        os._exit(code)
