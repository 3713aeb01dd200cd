"""The batching policy that the search finds, against the best of the whole grid of policies.

One server process with an artifact, under LoadGen, as suites/test_realtime.py has it. First the
search; then every policy of the grid by itself: each largest batch without a wait and with each
wait. The best of many measurements is one that was lucky, so the grid's leaders and the policy that
was found are measured again in turns, and the share of rates is told from those.

    python tests/results_serving.py MODEL WEIGHTS.safetensors --deadline 5 [--technique NAME]

prints a line of JSON, then the table. --technique: one that needs no training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import results_tables as tables  # noqa: E402 - the folders above are not installed

ROUNDS = 5
LEADERS = 2
"""Of the grid, by its own measurement, beside the policy that the search found."""

SHARE = 0.95
PROBE_SECONDS = 0.5
SERVED = {"digits_mlp": ("none", 5.0), "mobilenet_v3_small": ("onnxruntime", 10.0)}
"""What is measured for docs/results.md: the artifact, and the deadline in ms."""

TOLD = (
    "Queries a second within the deadline, 99 of 100 answers in time, by MLCommons LoadGen's Server"
    " scenario against one server process: with the policy that suites/test_realtime.py finds, and"
    " with the best of every largest batch and wait. Both were measured again in turns after the"
    " grid, since the best of many measurements was lucky; medians with the whole range."
    f" The goal is {SHARE:.0%} of the best."
)


def measure(
    name: str, weights: Path, technique: str, deadline: float, rounds: int, threads: int
) -> dict[str, Any]:
    """The row of one model. deadline: ms. Nothing here may compute with torch: servers are forks.

    Raises SystemExit where no policy keeps the deadline.
    """
    from gauge.serving import search
    from gauge.serving.batching import Policy
    from suites.served import served

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _build(name, weights, technique, folder)
        arguments = _arguments(name, folder, deadline / 1000, threads)
        with served(arguments, 1) as run:
            began = time.monotonic()
            found = run.find(search.WAITS)
            searched = time.monotonic()
            if found.best is None:
                raise SystemExit(f"{name}: no policy keeps the deadline of {deadline:g} ms")
            guess = found.best.rate
            print(f"found {found.best.as_dict()}", file=sys.stderr, flush=True)
            grid = []
            for size in search.usable(run.services, run.deadline):
                for share in (0.0, *(search.WAITS if size > 1 else ())):
                    policy = Policy(size, share * run.deadline)
                    grid.append(search.highest(policy, run.probe, guess))
                    print(grid[-1].as_dict(), file=sys.stderr, flush=True)
            ended = time.monotonic()
            again = _again(run, [found.best, *leaders(grid, found.best)], rounds)
            facts = run.facts()
    return {
        "model": name,
        "technique": technique,
        "deadline_ms": deadline,
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
        "found": found.best.as_dict(),
        "probes": sum(len(one.probes) for one in found.points),
        "seconds": searched - began,
        "grid": [one.as_dict() for one in grid],
        "grid_seconds": ended - searched,
        "again": again,
        "own_cpu": facts["own_cpu"],
        "machine": facts["machine"],
    }


def leaders(grid: Sequence[Any], found: Any) -> list[Any]:
    """The grid's best points by rate, without the policy that was found."""
    others = [one for one in grid if one.rate and one.policy != found.policy]
    return sorted(others, key=lambda one: -one.rate)[:LEADERS]


def _again(run: Any, points: Sequence[Any], rounds: int) -> list[dict[str, Any]]:
    """Each policy's rate so many times, in turns; the found one first."""
    from gauge.serving import search

    rates: list[list[float]] = [[] for _ in points]
    for turn in range(rounds):
        order = list(enumerate(points))
        for place, point in order[:: -1 if turn % 2 else 1]:
            held = search.highest(point.policy, run.probe, point.rate).rate
            rates[place].append(held or 0.0)
    return [
        {**point.policy.as_dict(), "rates": own} for point, own in zip(points, rates, strict=True)
    ]


def _build(name: str, weights: Path, technique: str, folder: Path) -> None:
    """Save the artifact, by a process of its own: this one is to fork servers."""
    words = [name, str(weights), "--technique", technique, "--build", str(folder)]
    command = [sys.executable, "-W", "ignore", str(Path(__file__)), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(f"building {technique} failed:\n{done.stderr[-2000:]}")


def build(name: str, weights: Path, technique: str, folder: Path) -> None:
    """The artifact of a technique in `folder`/artifact."""
    import torch
    from reference_tools import ready

    import optimizers
    import zoo
    from gauge import targets
    from optimizers import artifact, pipeline
    from suites import naming

    model, target = zoo.get(name), targets.get("cpu")
    variants = {one: optimizers.get(one).variants for one in optimizers.names()}
    stages = [tuple(one) for one in naming.parse(technique, variants)]
    context = optimizers.Context(model, target, {}, 0, folder / "work")
    torch.manual_seed(0)
    optimized, _ = pipeline.apply(stages, ready(model, weights), context)
    (folder / "artifact").mkdir()
    artifact.save(optimized, folder / "artifact")


def _arguments(name: str, folder: Path, deadline: float, threads: int) -> dict[str, Any]:
    """A load's arguments, as suites.serving gives them."""
    return {
        "model": name,
        "target": "cpu",
        "plugins": [],
        "seed": 0,
        "threads": threads,
        "artifact": str(folder),
        "deadline": deadline,
        "seconds": PROBE_SECONDS,
        "probe_seconds": PROBE_SECONDS,
        "folder": str(folder / "logs"),
    }


def share(row: Mapping[str, Any]) -> float:
    """The rate of the policy found over that of the best, both measured again in turns."""
    found, *others = (statistics.median(one["rates"]) for one in row["again"])
    return found / max([found, *others])


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines, a row a model."""
    told = []
    for row in rows:
        found = row["again"][0]
        best, second, *_ = sorted(row["again"], key=lambda one: -statistics.median(one["rates"]))
        probes = sum(one["probes"] for one in row["grid"])
        told.append(
            [
                row["model"],
                f"`{row['technique']}`",
                f"{row['deadline_ms']:g} ms",
                _told(found),
                f"it; then {_told(second)}" if best is found else _told(best),
                f"{share(row):.1%}: {'reached' if share(row) >= SHARE else 'MISSED'}",
                f"{row['probes']} probes, {row['seconds']:.0f} s of "
                f"{probes}, {row['grid_seconds']:.0f} s",
                f"{len(row['grid'])}",
                _machine(row),
            ]
        )
    head = ["model", "artifact", "deadline", "policy found", "best of the grid", "share"]
    return tables.table([*head, "search of grid", "policies", "measured"], told)


def _machine(row: Mapping[str, Any]) -> str:
    own = "has a CPU of its own" if row["own_cpu"] else "shares the server's CPU"
    busy = row["machine"]["others"]
    others = "not told" if busy is None else f"{busy:.0%} of a CPU"
    return f"{row['day']}; LoadGen {own}; other programs: {others}"


def _told(one: Mapping[str, Any]) -> str:
    wait = f"{one['wait_ms']:g} ms" if one["wait_ms"] else "no wait"
    rates = one["rates"]
    middle = f"{statistics.median(rates):.0f} a second [{min(rates):.0f}, {max(rates):.0f}]"
    return f"batch {one['largest_batch']}, {wait}: {middle}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--technique", default="none")
    parser.add_argument("--deadline", type=float, default=50.0, metavar="MS")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="save the artifact here only")
    chosen = parser.parse_args()
    asked = (chosen.model, chosen.weights, chosen.technique)
    if chosen.build:
        build(*asked, chosen.build)
        return
    row = measure(*asked, chosen.deadline, chosen.rounds, chosen.threads)
    print(json.dumps(row), flush=True)
    print("\n".join(table([row])))


if __name__ == "__main__":
    main()
