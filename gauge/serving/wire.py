"""What client and server say to each other over a socket: bytes, nothing that could run code.

A message is a letter and what belongs to it. To the server: Q queries, P a policy, X stop. From
it: R ready, K policy taken, A answers, E an exception's text.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

QUERIES, POLICY, STOP = b"Q", b"P", b"X"
READY, TAKEN, ANSWERS, FAILED = b"R", b"K", b"A", b"E"
_ARRIVED = struct.Struct("<d")
_SHAPE = struct.Struct("<qq")


def queries(arrived: float, pairs: Sequence[tuple[int, int]]) -> bytes:
    """Queries as (id, sample) pairs, with the time of their arrival (CLOCK_MONOTONIC, s)."""
    return QUERIES + _ARRIVED.pack(arrived) + np.asarray(pairs, dtype="<u8").tobytes()


def read_queries(body: bytes) -> tuple[float, list[tuple[int, int]]]:
    """What `queries` packed, without its letter."""
    (arrived,) = _ARRIVED.unpack_from(body)
    pairs = np.frombuffer(body, dtype="<u8", offset=_ARRIVED.size).reshape(-1, 2)
    return arrived, [(int(one), int(sample)) for one, sample in pairs]


def answers(ids: Sequence[int], rows: np.ndarray) -> bytes:
    """One row of bytes (uint8 [n, length]) for each query."""
    head = _SHAPE.pack(*rows.shape) + np.asarray(ids, dtype="<u8").tobytes()
    return ANSWERS + head + np.ascontiguousarray(rows).tobytes()


def read_answers(body: bytes) -> tuple[list[int], np.ndarray]:
    """The queries' ids and their rows, which share the body's memory."""
    count, length = _SHAPE.unpack_from(body)
    ids = np.frombuffer(body, dtype="<u8", count=count, offset=_SHAPE.size)
    start = _SHAPE.size + ids.nbytes
    rows = np.frombuffer(body, dtype="u1", count=count * length, offset=start)
    return [int(one) for one in ids], rows.reshape(count, length)


def plain(letter: bytes, data: Any = None) -> bytes:
    """A message whose body is JSON."""
    return letter + json.dumps(data, allow_nan=False).encode()
