"""Dynamic batching: queries wait for company, but no longer than told."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Policy:
    """largest: the most queries of a batch. wait: seconds that the oldest of them may wait.

    A wait of 0 takes whatever is there when the model is free: under load batches grow by
    themselves. ValueError for a batch below 1 or a wait that is negative or not finite.
    """

    largest: int = 1
    wait: float = 0.0

    def __post_init__(self) -> None:
        if self.largest < 1 or not (math.isfinite(self.wait) and self.wait >= 0):
            raise ValueError(
                f"a batching policy of largest batch {self.largest} and wait {self.wait} s; "
                "expected a batch of at least 1 and a finite wait from 0 up"
            )

    def as_dict(self) -> dict[str, Any]:
        """The policy as records hold it, the wait in ms."""
        return {"largest_batch": self.largest, "wait_ms": round(1000 * self.wait, 4)}


class Batcher:
    """The queue of one model: first come, first served. Times are in s, of one clock."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._waiting: deque[tuple[float, Any]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, arrived: float, queries: Iterable[Any]) -> None:
        """Queries that arrived together."""
        self._waiting.extend((arrived, query) for query in queries)

    def due(self, now: float) -> float | None:
        """Seconds until a batch goes, 0 for at once, None while nobody waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self.policy.largest:
            return 0.0
        return max(0.0, self._waiting[0][0] + self.policy.wait - now)

    def take(self) -> list[Any]:
        """The next batch: the oldest queries, up to the largest batch."""
        number = min(len(self._waiting), self.policy.largest)
        return [self._waiting.popleft()[1] for _ in range(number)]
