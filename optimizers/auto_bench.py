"""What a call of a trial's artifact costs on the target: time or energy, in turns with FP32."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from scipy.stats import binom
from torch import nn

from optimizers.auto_goal import Goal
from optimizers.base import Automatic, Context, Refused
from zoo import Batch

SEGMENT = 0.002
"""Seconds that a call is repeated for at a time, in parts of a quarter of that; the shortest part
counts, since a busy host stops a program for longer than a part lasts."""

PARTS = 4

BLOCKS = 9
"""The fewest whose median has an interval worth the name."""

PRECISE, MOST = 0.05, 45
"""A trial is measured until its interval is this narrow, or for so many blocks."""

LEVEL = 0.004
"""Of the interval by which a comparison drops what is slower: many are asked, again and again."""

RUNGS = (9, 18, 36, 72)
"""Blocks of each round of the last comparison; a round drops what is clearly slower."""

JOULES = 0.1
"""Seconds that a stretch lasts at least whose energy is read; counters lag."""

INTERVALS = 20
"""And renewals of the counter."""

Call = Callable[[], Any]


class Bench:
    """Measures one field of a goal: `latency_ms` (one sample), `batch_ms` (many) or `joules`.

    reference: FP32, on its device. known: what a call of it costs, from a search that was stopped.
    """

    def __init__(
        self,
        name: str,
        context: Context,
        asked: Automatic,
        reference: nn.Module,
        known: float | None = None,
    ) -> None:
        self.name, self.target = name, context.target
        batch = context.model.example(asked.batch if name == "batch_ms" else 1)
        self.batch = context.target.cast(batch)
        self.meter = meter(context.target) if name == "joules" else None
        self._reference = _called(reference, asked.baseline_target.cast(batch))
        if known is None:
            known = self._unit() * statistics.median(
                self._segment(self._reference) for _ in range(BLOCKS)
            )
        self.reference = known

    def measure(self, artifact: Callable[..., Any]) -> dict[str, float]:
        """The cost of a call, and the half width of its 95 % interval as a share of it.

        The reference's cost times the median ratio to it over blocks, in which both are measured
        in turns: what slows both sides cancels out.
        """
        calls, logs = {0: _called(artifact, self.batch)}, []
        while True:
            logs += self._blocks(calls, BLOCKS)[0]
            told = self._told(logs)
            if told[f"{self.name}_error"] <= PRECISE or len(logs) >= MOST:
                return told

    def race(self, artifacts: Mapping[int, Callable[..., Any]]) -> dict[int, dict[str, float]]:
        """All in turns, round after round; each one's cost when it was dropped or at the end.

        Successive halving (Jamieson and Talwalkar, 2016) on intervals instead of ranks: a round
        has twice the blocks of the one before, and what is slower than the best so far by the whole
        99.6 % interval of their paired difference gets no more. With `blocks`, how many it had; the
        one with the most blocks and the least cost has won.
        """
        calls = {number: _called(one, self.batch) for number, one in artifacts.items()}
        logs: dict[int, list[float]] = {number: [] for number in calls}
        alive = list(calls)
        for blocks in RUNGS:
            for number, new in self._blocks({n: calls[n] for n in alive}, blocks).items():
                logs[number] += new
            leader = min(alive, key=lambda n: statistics.median(logs[n]))
            alive = [n for n in alive if n == leader or not _slower(logs[n], logs[leader])]
            if len(alive) == 1:
                break
        return {n: {**self._told(one), "blocks": len(one)} for n, one in logs.items()}

    def _told(self, logs: Sequence[float]) -> dict[str, float]:
        low, high = _interval(logs)
        value = self.reference * math.exp(statistics.median(logs))
        return {self.name: value, f"{self.name}_error": math.exp((high - low) / 2) - 1}

    def _blocks(self, calls: dict[int, Call], count: int) -> dict[int, list[float]]:
        """Log-ratios to the reference, a block at a time; every other block runs backwards."""
        logs: dict[int, list[float]] = {number: [] for number in calls}
        for call in calls.values():
            call()
        for block in range(count):
            order: list[tuple[int | None, Call]] = [(None, self._reference), *calls.items()]
            took = {n: self._segment(call) for n, call in (order[::-1] if block % 2 else order)}
            for number in calls:
                logs[number].append(math.log(took[number] / took[None]))
        return logs

    def _segment(self, call: Call) -> float:
        """Seconds, or joules, a call. Raises RuntimeError for a counter that stands still."""
        with torch.inference_mode():
            call()  # The first one finds the caches as the other side left them.
            if self.meter is None:
                return _shortest(call, self._wait)
            least = max(JOULES, INTERVALS * self.meter.interval_s)
            before = self.meter.read()
            _, calls = _timed(call, least, self._wait)
            used = self.meter.read() - before
        if not used > 0:
            raise RuntimeError(f"the {self.meter.source} counter stands still")
        return used / calls

    def _unit(self) -> float:
        return 1.0 if self.name == "joules" else 1e3

    def _wait(self) -> None:
        if self.target.device == "cuda":
            torch.cuda.synchronize()


def _called(artifact: Callable[..., Any], batch: Batch) -> Call:
    args, kwargs = batch
    return lambda: artifact(*args, **kwargs)


def _timed(call: Call, least: float, wait: Callable[[], None]) -> tuple[float, int]:
    """(seconds a call, calls) of as many calls as take so long."""
    wait()
    began = time.perf_counter()
    calls = 0
    batch = 1
    while True:
        for _ in range(batch):
            call()
        calls += batch
        wait()
        taken = time.perf_counter() - began
        if taken >= least:
            return taken / calls, calls
        batch = calls  # Doubling: the clock is read a few times only.


def _shortest(call: Call, wait: Callable[[], None]) -> float:
    """Seconds a call, of the shortest of some parts."""
    found: list[float] = []
    began = time.perf_counter()
    while not found or time.perf_counter() - began < SEGMENT:
        found.append(_timed(call, SEGMENT / PARTS, wait)[0])
    return min(found)


def _interval(logs: Sequence[float], level: float = 0.05) -> tuple[float, float]:
    """Of the median, whatever the distribution: between order statistics (Thompson, 1936).

    level: how often it may miss it. Infinite where so few cannot tell.
    """
    count = len(logs)
    outside = int(binom.ppf(level / 2, count, 0.5))
    if binom.cdf(outside, count, 0.5) > level / 2:
        outside -= 1
    if outside < 0:
        return -math.inf, math.inf
    ordered = sorted(logs)
    return ordered[outside], ordered[count - 1 - outside]


def _slower(logs: Sequence[float], leader: Sequence[float]) -> bool:
    """Both had the same blocks: so many of each as both have."""
    return _interval([a - b for a, b in zip(logs, leader, strict=True)], LEVEL)[0] > 0


def meter(target: Any) -> Any:
    """The target's counter of energy; raises Refused saying why there is none."""
    found = target.energy_meter()
    if found.read is None:
        raise Refused(f"the energy of a call cannot be read here: {found.reason}")
    return found


def benches(
    goal: Goal,
    context: Context,
    asked: Automatic,
    reference: nn.Module,
    known: Mapping[str, float],
) -> dict[str, Bench]:
    """A bench for every field that the goal needs measured."""
    return {name: Bench(name, context, asked, reference, known.get(name)) for name in goal.measured}
