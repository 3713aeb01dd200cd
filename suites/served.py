"""An artifact in servers of its own, and what LoadGen asks of it again and again.

Runs in the worker of a load: the client. Servers are forked from it before it computes anything,
and open the artifact as every other job does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from gauge import affinity, monitors, outputs
from gauge.serving import loadgen, search, server
from gauge.serving.batching import Policy
from gauge.serving.client import Servers
from gauge.serving.loadgen import Ask
from suites import world as shared
from suites.world import World

LARGEST = 32
STEP_DOWN = 0.03
MOST_STEPS = 10
LEAST_PROBE = 100
PROBE_DEADLINES = 20
"""A probe lasts so many deadlines at least: in a shorter one a queue that grows is in time."""


class Load:
    """Servers under LoadGen, and what of it is asked again and again."""

    def __init__(self, arguments: Mapping[str, Any], servers: Servers, alone: bool) -> None:
        self.arguments, self.servers, self.alone = arguments, servers, alone
        self.samples: int = servers.ready[0]["samples"]
        self.services: dict[str, list[float]] = servers.ready[0]["services"]
        self.deadline: float = arguments["deadline"]
        self.folder = Path(arguments["folder"])
        self.instances = len(servers.ready)
        self.sizes = sorted(int(size) for size in self.services)
        self._watch, self._served = monitors.watch(), servers.cpu_seconds()

    def seconds(self, size: int) -> float:
        """A call's seconds at a batch size that was timed."""
        return median(self.services[str(size)])

    def facts(self) -> dict[str, Any]:
        """How it was measured."""
        return {
            "services": {
                size: [round(one, 7) for one in own] for size, own in self.services.items()
            },
            "samples": self.samples,
            "own_cpu": self.alone,
            "deadline_s": self.deadline,
            "least_seconds": self.arguments["seconds"],
            "machine": self._machine(),
        }

    def _machine(self) -> dict[str, Any]:
        """What else this machine did meanwhile, without servers and LoadGen: shares of a CPU."""
        seen, _ = self._watch()
        own = (self.servers.cpu_seconds() - self._served) / seen["wall_s"]
        others = None if seen["others"] is None else max(0.0, seen["others"] - own)
        return {"others": others, "steal": seen["steal"], "load": seen["load"]}

    def ask(self, scenario: str, name: str, **more: Any) -> dict[str, Any]:
        """One LoadGen run whose logs are kept under that name."""
        seconds = more.pop("seconds", self.arguments["seconds"])
        ask = Ask(scenario, seconds, self.samples, self.deadline, **more)
        return loadgen.run(ask, self.servers, self.folder / name)

    def probe(self, policy: Policy, rate: float) -> search.Probe:
        """One short Server run."""
        self.servers.set(policy)
        seconds = max(self.arguments["probe_seconds"], PROBE_DEADLINES * self.deadline)
        found = self.ask("Server", "probe", seconds=seconds, rate=rate, least=LEAST_PROBE)
        return search.Probe(found["scheduled"], found["late"], found["p99_s"], found["rate"])

    def find(self, waits: Sequence[float]) -> search.Found:
        """The best policy, every rate of every policy in a short run of its own."""
        # Several instances share the queries: each is asked a part of them.
        services = {
            size: [one / self.instances for one in own] if self.instances > 1 else own
            for size, own in self.services.items()
        }
        return search.find(self.probe, services, self.deadline, waits)

    def confirmed(self, point: search.Point | None, name: str) -> dict[str, Any] | None:
        """A found point in runs that count; None where there is none."""
        if point is None or point.rate is None:
            return None
        return self.confirm(point.policy, point.rate, name)

    def confirm(self, policy: Policy, rate: float, name: str) -> dict[str, Any]:
        """The highest rate from `rate` down that LoadGen calls valid; else the last run's."""
        self.servers.set(policy)
        found: dict[str, Any] = {}
        for step in range(1, MOST_STEPS + 1):
            found = self.ask("Server", f"server-{name}", rate=rate)
            # Too few queries at hand for how many were late: at a lower rate fewer are.
            if found["valid"] or not (found["too_slow"] or found["late"]):
                break
            # Small steps first; larger ones where they do not do.
            rate *= 1 - STEP_DOWN * step
        return {**found, **policy.as_dict()}

    def offline(self) -> dict[str, Any]:
        """Samples a second where all are there at once, by the batch size of most throughput."""
        size = max(self.sizes, key=lambda one: one / self.seconds(one))
        self.servers.set(Policy(size))
        expected = self.instances * size / self.seconds(size)
        found: dict[str, Any] = {}
        for _ in range(3):
            found = self.ask("Offline", "offline", rate=expected)
            if found["valid"]:
                break
            # It was over too soon: LoadGen sends as many samples as it is told to expect.
            expected = 1.2 * max(expected, found["rate"])
        return {**found, **Policy(size).as_dict()}


@contextlib.contextmanager
def served(arguments: dict[str, Any], instances: int) -> Iterator[Load]:
    """Server processes with the artifact, each with its own threads and, if there are, CPUs."""
    cpus, rest = cpus_of(instances, arguments["threads"])
    serve = lambda one: server.serve(one, lambda: _open(arguments), LARGEST)  # noqa: E731
    with Servers(serve, cpus) as servers:
        pin(rest)
        yield Load(arguments, servers, bool(rest))


def cpus_of(instances: int, threads: int) -> tuple[list[frozenset[int] | None], frozenset[int]]:
    """CPUs of each instance, and those that are left for LoadGen: none of both where too few."""
    every = sorted(affinity.allowed())
    if instances * threads >= len(every):
        return [None] * instances, frozenset()
    own: list[frozenset[int] | None] = [
        frozenset(every[place * threads : (place + 1) * threads]) for place in range(instances)
    ]
    return own, frozenset(every[instances * threads :])


def pin(cpus: frozenset[int]) -> None:
    """Hold this process to the CPUs that are left for LoadGen, where there are any."""
    if cpus:
        affinity.pin(cpus)


def _open(arguments: dict[str, Any]) -> tuple[server.Run, int]:
    """The artifact, as a function from sample numbers to rows of bytes; runs in a server."""
    world = World(arguments)
    split = world.model.split("evaluation")
    candidate = shared.load_candidate(world)
    fixed = getattr(candidate, "batch", None)
    count = len(split)

    def run(samples: Sequence[int]) -> np.ndarray:
        rows = [one % count for one in samples]
        if fixed is None:
            return _rows(answer(rows), len(rows))
        # An artifact of one batch size: what is missing is filled up, what is more comes next.
        parts = [rows[place : place + fixed] for place in range(0, len(rows), fixed)]
        found = [_rows(answer(part + part[-1:] * (fixed - len(part))), fixed) for part in parts]
        return np.concatenate(found)[: len(rows)]

    def answer(rows: list[int]) -> Any:
        batch = split.take(torch.tensor(rows))
        return shared.on_cpu(shared.apply_to(candidate, world.target, batch))

    return run, count


def _rows(result: Any, count: int) -> np.ndarray:
    """Outputs as bytes, a row a sample: uint8 [n, length]."""
    parts = []
    for path, tensor in outputs.flatten(result).items():
        if tensor.shape[:1] != (count,):
            raise ValueError(f"{path} has shape {list(tensor.shape)}: no row for each of {count}")
        parts.append(np.ascontiguousarray(tensor.numpy()).reshape(count, -1).view(np.uint8))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
