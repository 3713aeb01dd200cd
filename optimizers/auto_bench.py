"""What a trial's artifact costs on the target, in turns with FP32, run at its best."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from scipy.stats import binom
from torch import nn

from optimizers.auto_goal import Goal
from optimizers.auto_ways import Arm, Way, batch, called, sizes
from optimizers.base import Automatic, Context, Refused

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

Key = TypeVar("Key")


class Bench:
    """Measures one field of a goal: `latency_ms`, `joules` (of a call with one sample), `sample_ms`
    (of a sample, in calls with many).

    reference: FP32, on its device. known: what measuring that told a search that was stopped.
    """

    def __init__(
        self,
        name: str,
        context: Context,
        asked: Automatic,
        reference: nn.Module,
        known: Mapping[str, float] | None = None,
    ) -> None:
        self.name, self.target = name, context.target
        self.meter = meter(context.target) if name == "joules" else None
        self.batches = sizes(asked.batch) if name == "sample_ms" else (1,)
        self._batches = {size: batch(context, size) for size in self.batches}
        cast = asked.baseline_target.cast
        arms = {n: Arm(called(reference, cast(one)), n) for n, one in self._batches.items()}
        self.known = dict(known) if known is not None else self._known(arms)
        self._reference = arms[int(self.known["batch"])]

    @property
    def reference(self) -> float:
        """What FP32 costs, at its own best batch size."""
        return self.known["cost"]

    def arm(self, artifact: Callable[..., Any], size: int) -> Arm:
        """The artifact called with so many samples, one of `batches`."""
        return Arm(called(artifact, self.target.cast(self._batches[size])), size)

    def measure(self, ways: Mapping[Way, Callable[..., Any]]) -> tuple[Way, dict[str, float]]:
        """The way in which an artifact costs least, its cost, and the half width of the cost's 95 %
        interval as a share of it.

        ways: the artifact as it is opened for each. Those that are clearly slower are dropped after
        each round of blocks. Of what is not told apart the artifact's own threads (None) come
        first: another number has to be worth its name.

        The cost is the reference's times the median ratio to it over blocks, in which all are
        measured in turns: what slows all sides cancels out.
        """
        arms = {way: self.arm(artifact, way.batch) for way, artifact in ways.items()}
        logs: dict[Way, list[float]] = {way: [] for way in arms}
        alive = list(arms)
        while True:
            for way, new in self._blocks({one: arms[one] for one in alive}, BLOCKS).items():
                logs[way] += new
            alive = _undecided(alive, logs)
            own = [way for way in alive if way.threads is None]
            best = min(own or alive, key=lambda way: statistics.median(logs[way]))
            told = self._told(logs[best])
            if told[f"{self.name}_error"] <= PRECISE or len(logs[best]) >= MOST:
                return best, told

    def race(self, arms: Mapping[int, Arm]) -> dict[int, dict[str, float]]:
        """All in turns, round after round; each one's cost when it was dropped or at the end.

        Successive halving (Jamieson and Talwalkar, 2016) on intervals instead of ranks: a round
        has twice the blocks of the one before, and what is slower than the best so far by the whole
        99.6 % interval of their paired difference gets no more. With `blocks`, how many it had; the
        one with the most blocks and the least cost has won.
        """
        logs: dict[int, list[float]] = {number: [] for number in arms}
        alive = list(arms)
        for blocks in RUNGS:
            for number, new in self._blocks({n: arms[n] for n in alive}, blocks).items():
                logs[number] += new
            alive = _undecided(alive, logs)
            if len(alive) == 1:
                break
        return {n: {**self._told(one), "blocks": len(one)} for n, one in logs.items()}

    def _told(self, logs: Sequence[float]) -> dict[str, float]:
        low, high = _interval(logs)
        value = self.reference * math.exp(statistics.median(logs))
        return {self.name: value, f"{self.name}_error": math.exp((high - low) / 2) - 1}

    def _known(self, arms: Mapping[int, Arm]) -> dict[str, float]:
        """{"batch", "cost"}: the size at which FP32 costs least, and what it costs there."""
        found: dict[int, list[float]] = {size: [] for size in arms}
        for _ in range(BLOCKS):
            for size, arm in arms.items():
                found[size].append(self._cost(arm))
        size = min(found, key=lambda n: statistics.median(found[n]))
        unit = 1.0 if self.name == "joules" else 1e3
        return {"batch": size, "cost": unit * statistics.median(found[size])}

    def _blocks(self, arms: Mapping[Key, Arm], count: int) -> dict[Key, list[float]]:
        """Log-ratios to the reference, a block at a time; every other block runs backwards."""
        logs: dict[Key, list[float]] = {name: [] for name in arms}
        for arm in arms.values():
            arm.call()
        for block in range(count):
            order: list[tuple[Key | None, Arm]] = [(None, self._reference), *arms.items()]
            took = {n: self._cost(arm) for n, arm in (order[::-1] if block % 2 else order)}
            for name in arms:
                logs[name].append(math.log(took[name] / took[None]))
        return logs

    def _cost(self, arm: Arm) -> float:
        return self._segment(arm.call) / arm.samples

    def _segment(self, call: Callable[[], Any]) -> float:
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

    def _wait(self) -> None:
        if self.target.device == "cuda":
            torch.cuda.synchronize()


def _timed(call: Callable[[], Any], least: float, wait: Callable[[], None]) -> tuple[float, int]:
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


def _shortest(call: Callable[[], Any], wait: Callable[[], None]) -> float:
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


def _undecided(alive: Sequence[Key], logs: Mapping[Key, Sequence[float]]) -> list[Key]:
    """The least so far, and those that are not clearly slower."""
    leader = min(alive, key=lambda one: statistics.median(logs[one]))
    return [one for one in alive if one == leader or not _slower(logs[one], logs[leader])]


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
    known: Mapping[str, Mapping[str, float]],
) -> dict[str, Bench]:
    """A bench for every field that the goal needs measured."""
    return {name: Bench(name, context, asked, reference, known.get(name)) for name in goal.measured}
