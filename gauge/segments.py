"""Segments: so many calls of one arm in a row, taken at once by the target's stopwatch."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

from gauge import energy
from gauge.outputs import Batch
from gauge.targets import Target

# No model answers 65,536 times in 10 ms: only a stopwatch that stands still gets here, and the
# growth check tells of it.
MOST_CALLS = 2**16
_GROWTH = 1.2
# A stopwatch that does not wait tells of microseconds; a call this long has been waited for.
_LONG_S = 0.1
_TRIES = 12

SINGLE_CALLS = 400
"""Most single calls of an arm that a process times."""

_TURN = 20

Call = Callable[..., Any]


class Runner:
    """Runs segments on the target's stopwatch; the arms are A (baseline) and B (candidate).

    evict: with cold caches, called before every call and not timed. answers: the last one of each.
    """

    def __init__(
        self,
        target: Target,
        arms: dict[str, tuple[Call, Batch]],
        evict: Callable[[], None] | None = None,
    ) -> None:
        self.arms = arms
        self.target = target
        self.start = target.stopwatch()
        self.evict = evict
        self.calls = dict.fromkeys(arms, 1)
        self.last: str | None = None
        self.answers: dict[str, Any] = {}

    def energy(self, meter: energy.Meter) -> energy.Energy:
        """Joules of a call of each arm; not with cold caches, as emptying them takes most."""
        if self.evict is not None:
            return energy.Energy(None, None, "emptying the caches would be counted")

        def run(arm: str) -> int:
            self.segment(arm)
            return self.calls[arm]

        return energy.measure(meter, run)

    def segment(self, arm: str, calls: int | None = None) -> float:
        """Seconds of so many calls in a row; the stopwatch synchronises once, at the end.

        With cold caches every call is timed by itself, and the seconds are their sum.
        """
        call, (args, kwargs) = self.arms[arm]
        if arm != self.last:
            # The first call finds the other arm's data in the caches: it is not timed.
            call(*args, **kwargs)
            self.last = arm
        count = calls or self.calls[arm]
        if self.evict is not None:
            return sum(self._cold(self.evict, arm) for _ in range(count))
        rounds = itertools.repeat(None, count)
        answer = None
        stop = self.start()
        for _ in rounds:
            answer = call(*args, **kwargs)
        taken = stop()
        self.answers[arm] = answer
        return taken

    def _cold(self, evict: Callable[[], None], arm: str) -> float:
        call, (args, kwargs) = self.arms[arm]
        evict()
        stop = self.start()
        answer = call(*args, **kwargs)
        taken = stop()
        self.answers[arm] = answer
        return taken

    def block(self, order: str) -> dict[str, list[float]]:
        """Seconds a call of each segment, by arm; order: ABBA or BAAB."""
        taken: dict[str, list[float]] = {arm: [] for arm in self.arms}
        for arm in order:
            taken[arm].append(self.segment(arm) / self.calls[arm])
        gc.collect()
        return taken

    def grow_calls(self, arm: str, segment: float) -> None:
        """Double the calls until a segment lasts so many seconds; evictions count as well."""
        while self.calls[arm] < MOST_CALLS:
            began = time.perf_counter()
            taken = self.segment(arm)
            if taken >= segment or (self.evict and time.perf_counter() - began >= segment):
                break
            self.calls[arm] *= 2

    def single_calls(self, seconds: float) -> dict[str, list[float]]:
        """Seconds of single calls by arm, in turns of 20, for at most that long altogether."""
        taken: dict[str, list[float]] = {arm: [] for arm in self.arms}
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            for arm in self.arms:
                for _ in range(_TURN):
                    taken[arm].append(self.segment(arm, 1))
                    if time.perf_counter() >= deadline:
                        break
            if min(map(len, taken.values())) >= SINGLE_CALLS:
                break
        return taken

    def growth_problem(self) -> str | None:
        """Twice the calls must take longer; not so where the stopwatch does not wait for them.

        The shortest of some tries of each counts: a pause in either says nothing.
        """
        for arm, name in (("A", "baseline"), ("B", "candidate")):
            calls = self.calls[arm]
            growth, once, twice = 0.0, math.inf, math.inf
            if self.segment(arm, 1) >= _LONG_S:
                continue
            for _ in range(_TRIES):
                once = min(once, self.segment(arm, calls))
                twice = min(twice, self.segment(arm, 2 * calls))
                growth = twice / once if once > 0 else 0.0
                if growth >= _GROWTH:
                    break
            else:
                return (
                    f"{2 * calls} calls of the {name} take {growth:.2f} times as long as {calls}: "
                    "the stopwatch does not wait for the work"
                )
        return None
