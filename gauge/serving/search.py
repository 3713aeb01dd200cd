"""Finding the batching policy that answers most queries a second within a deadline, by measuring.

A policy's rate is the highest at which 99 of 100 answers come in time: found by bisection over
short LoadGen runs. Policies are asked in an order that needs few of them: largest batches without
a wait, upwards until more company no longer helps, then waits at the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from gauge.serving.batching import Policy

WITHIN = 0.02
"""A bisection ends where what holds and what fails are this close."""
STEP = 1.2
MOST_PROBES = 16
FAR = 20.0
"""A rate that many times below the guess: where it does not hold, nothing does."""
GAIN = 0.01
LATE = 0.01
NEAR = 0.1
"""A share of late answers up to which a probe is asked again: one pause of a busy machine makes as
many, and would set the bound for good."""
BEHIND = 0.03
"""A server whose rate of answers is so far below that of queries falls ever further behind."""
NOISE = 0.1
"""What one measurement of a rate may be off by: policies this close to the best are measured again,
in turns, and their medians compared, or the search would return the luckiest."""
LEADERS, AGAIN = 3, 2

WAITS = (0.1, 0.25, 0.5)
"""Waits that are tried, as shares of the deadline."""


@dataclass(frozen=True)
class Probe:
    """One short run. late: share of answers after the deadline. rates in queries a second."""

    rate: float
    late: float
    p99: float
    answered: float

    @property
    def holds(self) -> bool:
        return self.late <= LATE and self.answered >= (1 - BEHIND) * self.rate

    @property
    def near(self) -> bool:
        return not self.holds and self.late <= NEAR


@dataclass
class Point:
    """A policy with the highest rate at which it keeps the deadline, None where it never does."""

    policy: Policy
    rate: float | None
    p99: float
    probes: list[Probe] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        return {
            **self.policy.as_dict(),
            "rate": self.rate,
            "p99_s": self.p99,
            "probes": len(self.probes),
        }


Ask = Callable[[Policy, float], Probe]


def highest(policy: Policy, ask: Ask, guess: float) -> Point:
    """The highest rate at which a policy keeps the deadline.

    guess: where to begin, in queries a second. Where nothing holds down to a hundredth of it, the
    point's rate is None and its p99 the least that was seen.
    """
    probes: list[Probe] = []
    good: Probe | None = None
    bad: float | None = None
    rate, ups = guess, 0
    while len(probes) < MOST_PROBES:
        probe = ask(policy, rate)
        probes.append(probe)
        if probe.near:
            probe = ask(policy, rate)
            probes.append(probe)
        if probe.holds:
            good = probe if good is None or probe.rate > good.rate else good
        else:
            bad = rate if bad is None else min(rate, bad)
        if good is None:
            assert bad is not None
            if bad <= guess / FAR:
                break
            # Further down at every step, since a guess may be far off; where not one answer was
            # in time, only a rate at which no query meets another can tell.
            all_late = probe.late >= 1
            rate = guess / FAR if all_late else max(guess / FAR, bad / STEP ** min(len(probes), 6))
        elif bad is None or bad <= good.rate:
            # Further up at every step, for the same cause.
            ups += 1
            rate, bad = good.rate * STEP ** min(ups, 4), None
        elif bad / good.rate <= 1 + WITHIN:
            break
        else:
            rate = math.sqrt(bad * good.rate)
    if good is None:
        return Point(policy, None, min(probe.p99 for probe in probes), probes)
    return Point(policy, good.rate, good.p99, probes)


@dataclass
class Found:
    """All points that were measured, the best, and batch 1's; nearest where none keeps it."""

    points: list[Point]
    one: Point
    best: Point | None
    nearest: Point

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        return {
            "points": [point.as_dict() for point in self.points],
            "batch_1": self.one.as_dict(),
            "best": None if self.best is None else self.best.as_dict(),
            "nearest": self.nearest.as_dict(),
        }


def find(
    ask: Ask,
    services: Mapping[str, Sequence[float]],
    deadline: float,
    waits: Sequence[float] = WAITS,
) -> Found:
    """The best policy. services: seconds of calls by batch size, which say where to begin."""
    points: list[Point] = []

    def measure(policy: Policy) -> Point:
        guess = predicted(policy, services, deadline)
        if points and points[-1].rate:
            # What the prediction leaves out, it leaves out for every policy.
            before = predicted(points[-1].policy, services, deadline)
            guess *= points[-1].rate / before
        points.append(highest(policy, ask, guess))
        return points[-1]

    one = measure(Policy(1))
    idle = 0
    for size in usable(services, deadline)[1:]:
        best = _best(points)
        point = measure(Policy(size))
        gains = point.rate and (best is None or point.rate > (1 + GAIN) * (best.rate or 0))
        idle = 0 if gains else idle + 1
        if idle == 2:
            break
    best = _best(points)
    if best is not None and best.policy.largest > 1:
        for share in waits:
            point = measure(Policy(best.policy.largest, share * deadline))
            if not point.rate or point.rate < (1 - NOISE) * (best.rate or 0):
                break
    _again(points, ask)
    return Found(points, one, _best(points), min(points, key=lambda point: point.p99))


def _again(points: Sequence[Point], ask: Ask) -> None:
    """Measure the best few again in turns; their rates become medians."""
    leaders = sorted((one for one in points if one.rate), key=lambda one: -(one.rate or 0))
    leaders = [one for one in leaders if (one.rate or 0) >= (1 - NOISE) * (leaders[0].rate or 0)]
    if len(leaders) < 2:
        return
    found: list[list[Point]] = [[one] for one in leaders[:LEADERS]]
    for _ in range(AGAIN):
        for several in found:
            several.append(highest(several[0].policy, ask, several[0].rate or 0))
    for several in found:
        held = sorted((one for one in several if one.rate), key=lambda one: one.rate or 0)
        middle = held[(len(held) - 1) // 2]
        several[0].probes = [probe for one in several for probe in one.probes]
        several[0].rate, several[0].p99 = middle.rate, middle.p99


def usable(services: Mapping[str, Sequence[float]], deadline: float) -> list[int]:
    """Batch sizes whose call alone is within the deadline; 1 in any case."""
    sizes = sorted(int(size) for size in services)
    return [size for size in sizes if size == 1 or median(services[str(size)]) <= deadline]


def _best(points: Iterable[Point]) -> Point | None:
    return max((one for one in points if one.rate), key=lambda one: one.rate or 0, default=None)


def predicted(
    policy: Policy, services: Mapping[str, Sequence[float]], deadline: float, queries: int = 3000
) -> float:
    """The rate at which a simulation of the policy keeps the deadline: where to begin measuring."""
    sizes, seconds = curve(services)
    unit = np.random.default_rng(0).exponential(size=queries).cumsum()
    low, high = 0.01 / seconds[0], 2 * max(size / s for size, s in zip(sizes, seconds, strict=True))
    for _ in range(12):
        rate = math.sqrt(low * high)
        found = latencies(unit / rate, policy, lambda n: float(np.interp(n, sizes, seconds)))
        stable = found[-queries // 10 :].mean() < 3 * found.mean()
        if stable and np.quantile(found, 1 - LATE) <= deadline:
            low = rate
        else:
            high = rate
    return low


def curve(services: Mapping[str, Sequence[float]]) -> tuple[list[int], list[float]]:
    """Batch sizes and the median seconds of their calls."""
    sizes = sorted(int(size) for size in services)
    return sizes, [median(services[str(size)]) for size in sizes]


def latencies(arrivals: np.ndarray, policy: Policy, seconds: Callable[[int], float]) -> np.ndarray:
    """Seconds from each arrival to its answer at one server that batches by this policy."""
    found = np.empty_like(arrivals)
    free, place, count = 0.0, 0, len(arrivals)
    while place < count:
        full = place + policy.largest - 1
        due = arrivals[place] + policy.wait
        if full < count:
            due = min(due, arrivals[full])
        begin = max(free, due)
        end = min(place + policy.largest, int(np.searchsorted(arrivals, begin, side="right")))
        end = max(end, place + 1)
        free = begin + seconds(end - place)
        found[place:end] = free - arrivals[place:end]
        place = end
    return found
