"""Replicas over a traffic trace, simulated with simpy: an autoscaler, cold starts, batches.

Every figure from here is simulated. What it starts from is measured: seconds of calls by batch
size, the rate that one replica holds, and the cold start. One queue feeds all replicas, as an ideal
load balancer would.
"""

from __future__ import annotations

import importlib.util
import math
import random
from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gauge.serving.batching import Policy
from gauge.serving.traffic import Trace

FULL = 0.7
"""Share of a replica's rate that the autoscaler plans with."""
INTERVAL = 15.0
PATIENCE = 60.0
"""Seconds that fewer replicas must have been enough before one goes."""
MOST_POINTS = 288

Service = Callable[[int], float]


def missing() -> str | None:
    """Why nothing can be simulated here, or None."""
    if importlib.util.find_spec("simpy"):
        return None
    return "simpy is not installed: pip install 'optgauge[serving]'"


@dataclass(frozen=True)
class Replica:
    """One host. rate: queries a second that it holds at the objective. cold_start: seconds.

    instances: server processes on it, which each take batches of their own.
    """

    policy: Policy
    service: Service
    rate: float
    cold_start: float
    instances: int = 1


def drawn(services: Mapping[str, Sequence[float]], seed: int) -> Service:
    """Seconds of a call, drawn from those measured for the next larger batch size."""
    sizes = sorted(int(size) for size in services)
    pick = random.Random(seed).choice
    times = [list(services[str(size)]) for size in sizes]

    def service(batch: int) -> float:
        return pick(times[min(bisect_left(sizes, batch), len(sizes) - 1)])

    return service


class Simulation:
    """A fleet that serves arrivals; `run` gives what became of them."""

    def __init__(
        self, replica: Replica, arrivals: np.ndarray, *, start: int, seconds: float, scales: bool
    ) -> None:
        """start: replicas that are there at second 0. scales: whether an autoscaler changes that.

        seconds: how long there is traffic; the last queries are served out.
        """
        import simpy

        self.env = simpy.Environment()
        self.replica, self.seconds = replica, seconds
        self.arrivals: list[float] = arrivals.tolist()
        self.latency = np.full(len(arrivals), np.inf)
        self.waited = np.full(len(arrivals), np.inf)
        self.next = 0  # the first query that nobody has taken
        self.wanted = 0  # replicas
        self.there = 0  # their server processes, those that start included
        self.used = 0.0  # replica seconds
        self.timeline: list[tuple[float, int]] = []
        for _ in range(start):
            self._add(0.0)
        if scales:
            self.env.process(self._autoscale())

    def run(self) -> None:
        """Until every query is answered."""
        self.env.run()

    def _add(self, cold_start: float) -> None:
        self.wanted += 1
        self.timeline.append((self.env.now, self.wanted))
        for _ in range(self.replica.instances):
            self.env.process(self._serve(cold_start))

    def _serve(self, cold_start: float) -> Generator[Any, Any, None]:
        began = self.env.now
        self.there += 1
        if cold_start:
            yield self.env.timeout(cold_start)
        arrivals, policy, count = self.arrivals, self.replica.policy, len(self.arrivals)
        while self.next < count and self.there <= self.wanted * self.replica.instances:
            place, now = self.next, self.env.now
            due = arrivals[place] + policy.wait
            full = place + policy.largest - 1
            if full < count:
                due = min(due, arrivals[full])
            if due > now:
                yield self.env.timeout(due - now)
                continue  # another replica may have taken it meanwhile
            end = place + 1
            while end < count and end < place + policy.largest and arrivals[end] <= now:
                end += 1
            self.next = end
            taken = self.replica.service(end - place)
            for one in range(place, end):
                self.waited[one] = now - arrivals[one]
                self.latency[one] = now + taken - arrivals[one]
            yield self.env.timeout(taken)
        self.there -= 1
        self.used += (self.env.now - began) / self.replica.instances

    def _autoscale(self) -> Generator[Any, Any, None]:
        """Every interval: as many replicas as the queries of the last one need."""
        recent: list[int] = []
        seen = 0
        while self.env.now < self.seconds:
            yield self.env.timeout(INTERVAL)
            came = bisect_left(self.arrivals, self.env.now)
            needed = replicas(self.replica.rate, (came - seen) / INTERVAL)
            seen = came
            recent = [*recent, needed][-math.ceil(PATIENCE / INTERVAL) :]
            for _ in range(needed - self.wanted):
                self._add(self.replica.cold_start)
            if max(recent) < self.wanted:
                self.wanted = max(recent)
                self.timeline.append((self.env.now, self.wanted))


def replicas(rate: float, queries: float) -> int:
    """How many replicas a rate of queries needs, at least 1."""
    return max(1, math.ceil(queries / (FULL * rate)))


def simulate(replica: Replica, trace: Trace, deadline: float, seed: int) -> dict[str, Any]:
    """Replicas, objective misses and latencies over a trace. Deterministic in the seed.

    "replica_hours" count from the start of a cold start to the end. Rates are queries a second.
    """
    arrivals = trace.arrivals(seed)
    first = replicas(replica.rate, trace.rates[0])
    simulation = Simulation(replica, arrivals, start=first, seconds=trace.seconds, scales=True)
    simulation.run()
    late = int((simulation.latency > deadline).sum())
    count = len(arrivals)
    return {
        "simulated": True,
        "trace": trace.name,
        "queries": count,
        "late": late,
        "misses": late / count if count else 0.0,
        "p99_s": float(np.quantile(simulation.latency, 0.99)) if count else None,
        "replica_hours": simulation.used / 3600,
        "mean_replicas": simulation.used / trace.seconds,
        "most_replicas": max(number for _, number in simulation.timeline),
        "timeline": _timeline(simulation.timeline, trace),
    }


def _timeline(changes: Sequence[tuple[float, int]], trace: Trace) -> list[list[float]]:
    """[second, queries a second, replicas] of up to MOST_POINTS steps."""
    stride = max(1, -(-len(trace.rates) // MOST_POINTS))
    found: list[list[float]] = []
    for place in range(0, len(trace.rates), stride):
        now = place * trace.step
        number = [count for time, count in changes if time <= now][-1]
        found.append([round(now, 3), round(trace.rates[place], 3), number])
    return found
