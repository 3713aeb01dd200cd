"""The work of suites/test_realtime.py and test_cloud.py in a worker: servers and LoadGen.

The servers and what is asked of them are in suites/served.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gauge import outputs
from gauge.serving import fleet, loadgen, search, server, traffic
from gauge.serving.batching import Policy
from gauge.serving.client import Servers
from gauge.serving.loadgen import Ask
from suites import world as shared
from suites.served import LEAST_PROBE, cpus_of, pin, served
from suites.world import World

OVERHEAD_SECONDS = 1.0


def serving_realtime(arguments: dict[str, Any]) -> dict[str, Any]:
    """One server: latency one by one and in groups, and the best batching policy, by LoadGen."""
    _check()
    with served(arguments, 1) as run:
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
    with served(arguments, arguments["instances"]) as run:
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
    with served(arguments, arguments["instances"]) as run:
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
    with served(arguments, 1) as run:
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
    cpus, rest = cpus_of(1, arguments["threads"])
    with Servers(lambda one: server.serve(one, nothing, 1), cpus) as servers:
        pin(rest)
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
