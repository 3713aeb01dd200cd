"""The server process: takes queries from a socket, batches them, runs the model, answers."""

from __future__ import annotations

import json
import select
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from gauge.serving import wire
from gauge.serving.batching import Batcher, Policy

Run = Callable[[Sequence[int]], np.ndarray]
"""Samples by number to their answers, a row of bytes each: uint8 [n, length]."""

CALLS = 5
MOST_SECONDS = 1.0
LONGEST_CALL = 0.5
"""Seconds: larger batches than the first that takes so long are not asked for."""


def serve(connection: Connection, open_model: Callable[[], tuple[Run, int]], largest: int) -> None:
    """Open the model, say how long batches take, then answer until told to stop.

    open_model: gives the model and how many samples there are. largest: the largest batch that
    any policy will ask. What raises is told to the client.
    """
    try:
        run, samples = open_model()
        ready = {"samples": samples, "services": services(run, largest)}
        connection.send_bytes(wire.plain(wire.READY, ready))
        _Loop(connection, run).forever()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the client is gone
    except BaseException as error:  # noqa: BLE001 - told to the client, which ends the job with it
        traceback.print_exc()
        connection.send_bytes(wire.plain(wire.FAILED, f"{type(error).__name__}: {error}"))


def services(run: Run, largest: int) -> dict[str, list[float]]:
    """Seconds of calls by batch size: 1, 2, 4 … up to the largest, each other size once untimed.

    A runtime that prepares itself for each shape does so here, not under load. Ends early with the
    first batch that takes LONGEST_CALL: no policy may ask for more than the last size here.
    """
    found: dict[str, list[float]] = {}
    size = 1
    while size <= largest:
        if found and min(found[str(size // 2)]) > LONGEST_CALL:
            break
        run(list(range(size)))
        times: list[float] = []
        while len(times) < CALLS and sum(times) < MOST_SECONDS:
            began = time.monotonic()
            run(list(range(size)))
            times.append(time.monotonic() - began)
        found[str(size)] = times
        for between in range(size // 2 + 1, size):
            run(list(range(between)))
        size *= 2
    return found


class _Loop:
    """Draining the socket, then running a batch, in turns."""

    def __init__(self, connection: Connection, run: Run) -> None:
        self.connection, self.run = connection, run
        self.batcher = Batcher(Policy())
        self.poll = select.poll()
        self.poll.register(connection.fileno(), select.POLLIN)
        self.stopped = False

    def forever(self) -> None:
        while not self.stopped:
            pause = self.batcher.due(time.monotonic())
            if self.poll.poll(None if pause is None else 1000 * pause):
                self.receive(self.connection.recv_bytes())
            elif pause is not None:
                self.answer()

    def receive(self, message: bytes) -> None:
        letter, body = message[:1], message[1:]
        if letter == wire.QUERIES:
            self.batcher.add(*wire.read_queries(body))
        elif letter == wire.POLICY:
            policy: dict[str, Any] = json.loads(body)
            self.batcher.policy = Policy(policy["largest"], policy["wait"])
            self.connection.send_bytes(wire.plain(wire.TAKEN))
        elif letter == wire.STOP:
            self.stopped = True
        else:
            raise ValueError(f"a message that starts with {letter!r}")

    def answer(self) -> None:
        batch = self.batcher.take()
        rows = self.run([sample for _, sample in batch])
        self.connection.send_bytes(wire.answers([one for one, _ in batch], rows))
