"""The work of suites/test_realtime.py and test_cloud.py in a worker: servers and LoadGen.

The worker is the client. Its servers are forked from it before it computes anything, and open the
artifact as every other job does.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from gauge import affinity, outputs
from gauge.serving import fleet, loadgen, search, server, traffic
from gauge.serving.batching import Policy
from gauge.serving.client import Servers
from gauge.serving.loadgen import Ask
from suites import world as shared
from suites.world import World

LARGEST = 32
STEP_DOWN = 0.97
MOST_STEPS = 10
LEAST_PROBE = 100
PROBE_DEADLINES = 20
"""A probe lasts so many deadlines at least: in a shorter one a queue that grows is in time."""
OVERHEAD_SECONDS = 1.0


def serving_realtime(arguments: dict[str, Any]) -> dict[str, Any]:
    """One server: latency one by one and in groups, and the best batching policy, by LoadGen."""
    _check()
    with _served(arguments, 1) as run:
        run.servers.set(Policy(1))
        single = run.ask("SingleStream", "single-stream", expected=run.seconds(1) / 4)
        run.servers.set(Policy(run.sizes[-1]))
        multi = run.ask("MultiStream", "multi-stream", expected=run.seconds(1) / 4)
        found = run.find(search.WAITS)
        return {
            "single": single,
            "multi": multi,
            "search": found.as_dict(),
            "best": run.confirmed(found.best, "best"),
            "batch_1": run.confirmed(found.one, "batch-1"),
            **run.facts(),
        }


def serving_cloud(arguments: dict[str, Any]) -> dict[str, Any]:
    """All samples at once, then queries at random times, with so many instances and threads."""
    _check()
    with _served(arguments, arguments["instances"]) as run:
        found = run.find(())
        return {
            "offline": run.offline(),
            "search": found.as_dict(),
            "best": run.confirmed(found.best, "best"),
            **run.facts(),
        }


def serving_confirm(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of a policy (and Offline's) once more, in fresh processes."""
    _check()
    with _served(arguments, arguments["instances"]) as run:
        found: dict[str, Any] = {"best": None, "offline": None}
        if arguments["offline"]:
            found["offline"] = run.offline()
        if arguments["rate"] is not None:
            policy = Policy(*arguments["policy"])
            found["best"] = run.confirm(policy, arguments["rate"], "best")
        return {**found, **run.facts()}


def serving_answers(arguments: dict[str, Any]) -> dict[str, Any]:
    """The evaluation split asked under load, and what the answers score."""
    _check()
    folder = Path(arguments["folder"])
    with _served(arguments, 1) as run:
        run.servers.set(Policy(*arguments["policy"]))
        ask = Ask(
            arguments["scenario"],
            arguments["seconds"],
            run.samples,
            arguments["deadline"],
            arguments["rate"] or 0.5 / run.seconds(1),
            accuracy=True,
        )
        loadgen.run(ask, run.servers, folder)
        issued, answered = run.servers.issued, run.servers.answered
        samples = run.samples
    # The servers are gone: from here on this process may compute.
    given = loadgen.answers(folder, samples)
    return {**_scored(World(arguments), given), "issued": issued, "answered": answered}


def serving_overhead(arguments: dict[str, Any]) -> dict[str, Any]:
    """What LoadGen and the way to a server cost by themselves: a model that does nothing."""
    _check()

    def nothing() -> tuple[server.Run, int]:
        return (lambda samples: np.zeros((len(samples), 4), np.uint8)), LEAST_PROBE

    class Here:
        """Answers in LoadGen's own thread, without a server."""

        complete: Callable[..., None]

        def begin(self) -> None: ...
        def check(self) -> None: ...
        def send(self, pairs: Sequence[tuple[int, int]]) -> None:
            self.complete([one for one, _ in pairs], np.zeros((len(pairs), 4), np.uint8))

    folder = Path(arguments["folder"])
    ask = Ask("SingleStream", OVERHEAD_SECONDS, LEAST_PROBE, expected=1e-6)
    cpus, rest = _cpus(1, arguments["threads"])
    with Servers(lambda one: server.serve(one, nothing, 1), cpus) as servers:
        _pin(rest)
        through = loadgen.run(ask, servers, folder / "server")
    alone = loadgen.run(ask, Here(), folder / "alone")  # type: ignore[arg-type]
    keys = ("p50_s", "p90_s", "p99_s", "queries")
    return {
        "loadgen": {key: alone[key] for key in keys},
        "server": {key: through[key] for key in keys},
    }


def serving_cold(arguments: dict[str, Any]) -> dict[str, Any]:
    """Seconds from the start of a process to its first answer, torch's import included."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "suites.serving_cold"],
        input=json.dumps(arguments),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"a fresh server process ended with {done.returncode}: see its log")
    return {"cold_start_s": float(done.stdout.split()[-1]) - began}


def serving_fleet(arguments: dict[str, Any]) -> dict[str, Any]:
    """Replicas over a traffic trace, simulated from what the other loads measured."""
    reason = fleet.missing()
    if reason:
        raise loadgen.Unavailable(reason)
    replica, seed = arguments["replica"], arguments["seed"]
    rates, step, name = arguments["trace"]
    return fleet.simulate(
        fleet.Replica(
            Policy(*replica["policy"]),
            fleet.drawn(replica["services"], seed),
            replica["rate"],
            replica["cold_start"],
            replica["instances"],
        ),
        traffic.Trace(tuple(rates), step, name),
        arguments["deadline"],
        seed,
    )


def _check() -> None:
    reason = loadgen.missing()
    if reason:
        raise loadgen.Unavailable(reason)


class _Load:
    """Servers under LoadGen, and what of it is asked again and again."""

    def __init__(self, arguments: Mapping[str, Any], servers: Servers, alone: bool) -> None:
        self.arguments, self.servers, self.alone = arguments, servers, alone
        self.samples: int = servers.ready[0]["samples"]
        self.services: dict[str, list[float]] = servers.ready[0]["services"]
        self.deadline: float = arguments["deadline"]
        self.folder = Path(arguments["folder"])
        self.instances = len(servers.ready)
        self.sizes = sorted(int(size) for size in self.services)

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
        }

    def ask(self, scenario: str, name: str, **more: Any) -> dict[str, Any]:
        """One LoadGen run whose logs are kept under that name."""
        seconds = more.pop("seconds", self.arguments["seconds"])
        ask = Ask(scenario, seconds, self.samples, self.deadline, **more)
        return loadgen.run(ask, self.servers, self.folder / name)

    def find(self, waits: Sequence[float]) -> search.Found:
        """The best policy, every rate of every policy in a short run of its own."""
        seconds = max(self.arguments["probe_seconds"], PROBE_DEADLINES * self.deadline)

        def probe(policy: Policy, rate: float) -> search.Probe:
            self.servers.set(policy)
            more = {"seconds": seconds, "rate": rate, "least": LEAST_PROBE}
            found = self.ask("Server", "probe", **more)
            return search.Probe(found["scheduled"], found["late"], found["p99_s"], found["rate"])

        # Several instances share the queries: each is asked a part of them.
        services = {
            size: [one / self.instances for one in own] if self.instances > 1 else own
            for size, own in self.services.items()
        }
        return search.find(probe, services, self.deadline, waits)

    def confirmed(self, point: search.Point | None, name: str) -> dict[str, Any] | None:
        """A found point in runs that count; None where there is none."""
        if point is None or point.rate is None:
            return None
        return self.confirm(point.policy, point.rate, name)

    def confirm(self, policy: Policy, rate: float, name: str) -> dict[str, Any]:
        """The highest rate from `rate` down that LoadGen calls valid; else the last run's."""
        self.servers.set(policy)
        found: dict[str, Any] = {}
        for _ in range(MOST_STEPS):
            found = self.ask("Server", f"server-{name}", rate=rate)
            # Too few queries at hand for how many were late: at a lower rate fewer are.
            if found["valid"] or not (found["too_slow"] or found["late"]):
                break
            rate *= STEP_DOWN
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
def _served(arguments: dict[str, Any], instances: int) -> Iterator[_Load]:
    """Server processes with the artifact, each with its own threads and, if there are, CPUs."""
    cpus, rest = _cpus(instances, arguments["threads"])
    serve = lambda one: server.serve(one, lambda: _open(arguments), LARGEST)  # noqa: E731
    with Servers(serve, cpus) as servers:
        _pin(rest)
        yield _Load(arguments, servers, bool(rest))


def _cpus(instances: int, threads: int) -> tuple[list[frozenset[int] | None], frozenset[int]]:
    """CPUs of each instance, and those that are left for LoadGen: none of both where too few."""
    every = sorted(affinity.allowed())
    if instances * threads >= len(every):
        return [None] * instances, frozenset()
    own: list[frozenset[int] | None] = [
        frozenset(every[place * threads : (place + 1) * threads]) for place in range(instances)
    ]
    return own, frozenset(every[instances * threads :])


def _pin(cpus: frozenset[int]) -> None:
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


def _scored(world: World, given: Mapping[int, bytes]) -> dict[str, Any]:
    """Scores of the answers and of FP32's, in the order of the samples."""
    split = world.model.split("evaluation")
    with np.load(world.arguments["baseline_outputs"]) as stored:
        kept = {path: torch.from_numpy(stored[path]) for path in stored}
    example = shared.on_cpu(
        shared.apply_to(world.baseline(), world.baseline_target, split.take(slice(0, 1)))
    )
    rows = [given[number] for number in range(len(split))]
    joined = outputs.fill(example, _tensors(rows, kept))
    reference = outputs.fill(example, kept)
    bad, total = outputs.nonfinite(joined)
    before = shared.score(world.model, reference, split, reference)
    after = shared.score(world.model, joined, split, reference)
    return {
        "baseline": before.tolist(),
        "candidate": shared.finite(after.tolist()),
        "groups": None if split.groups is None else [int(one) for one in split.groups],
        "nonfinite": {"count": bad, "of": total, "layer": None},
        "extra": {},
    }


def _tensors(rows: Sequence[bytes], like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `_rows` made of outputs, as tensors of the form that FP32's have."""
    lengths = {len(row) for row in rows}
    wanted = sum(one[0].numel() * one.element_size() for one in like.values())
    if lengths != {wanted}:
        raise ValueError(
            f"the answers under load have {sorted(lengths)} bytes a sample, FP32's {wanted}"
        )
    every = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), wanted)
    found, place = {}, 0
    for path, one in like.items():
        width = one[0].numel() * one.element_size()
        part = np.ascontiguousarray(every[:, place : place + width])
        found[path] = torch.from_numpy(part).view(one.dtype).reshape(len(rows), *one.shape[1:])
        place += width
    return found
