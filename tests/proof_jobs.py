"""Jobs of the proof beside those of the suites; each runs in a fresh worker."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from gauge import timing
from suites.world import World

CHECKS = Path(__file__).with_name("proof_peer.py")


TRIED = 60
ATTEMPTS = 5


def products(arguments: dict[str, Any]) -> dict[str, Any]:
    """How many small products take a share of the model's own time.

    Timed in turns with the model, as gates are: alone in a loop they would take less, since
    nothing drives them from the caches.
    """
    world = World(arguments)
    slow = sys.modules[_plugin_name(world)].ExtraWork(world.baseline(), TRIED)
    inputs = world.target.cast(world.example(arguments["batch"]))
    # A machine that is busy with other things can hide the work once; it does not hide it often.
    for _ in range(ATTEMPTS):
        found = timing.measure_pair(
            world.baseline(), slow, world.target, inputs, inputs, seconds=arguments["seconds"]
        )
        extra = math.expm1(-found.log_ratio) / TRIED
        if extra > 0:
            break
    else:
        raise RuntimeError(f"{TRIED} products take no time beside the model: {found.log_ratio}")
    return {"products": max(1, round(arguments["share"] / extra))}


def _plugin_name(world: World) -> str:
    """The name under which the proof's models were loaded as a plug-in."""
    import zoo

    return type(zoo.get(world.arguments["model"])).__module__


def benchmark(arguments: dict[str, Any]) -> dict[str, Any]:
    """Both arms by pytest-benchmark in this process, as its users run it.

    arguments: `options`, the words after `pytest`. Returns seconds a call by arm, mean and median,
    and rounds.
    """
    import proof_peer
    import pytest

    world = World(arguments)
    args, kwargs = world.target.cast(world.example(arguments["batch"]))
    proof_peer.arms = {"baseline": world.baseline(), "candidate": world.baseline()}
    proof_peer.inputs = (args, kwargs)
    told = Path(arguments["folder"]) / "benchmark.json"
    words = ["-q", "-p", "no:cacheprovider", f"--rootdir={CHECKS.parent}", "-c", "/dev/null"]
    words += [f"--benchmark-json={told}", *arguments["options"], str(CHECKS)]
    os.environ.pop("PYTEST_XDIST_WORKER", None)  # with it, pytest-benchmark would measure nothing
    code = pytest.main(words)
    if code:
        raise RuntimeError(f"pytest {' '.join(words)} ended with {int(code)}")
    found = json.loads(told.read_text(encoding="utf-8"))["benchmarks"]
    told.unlink()
    return {
        one["params"]["arm"]: {
            "mean": one["stats"]["mean"],
            "median": one["stats"]["median"],
            "rounds": one["stats"]["rounds"],
        }
        for one in found
    }
