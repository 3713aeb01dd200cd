"""Loads of suites/test_realtime.py and test_cloud.py: each once, FP32's shared by its rivals."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from gauge.judge_serving import invalid
from gauge.machine import allowance
from gauge.serving import traffic
from suites import matrix
from suites.durations import Durations
from suites.engine import Engine
from suites.matrix import Cell
from suites.naming import BASELINE
from suites.privacy import scrub

FOLDER = "load"
PEAK = 4.0
"""The built-in day's peak in rates of one FP32 replica."""
MOST_DAY = 1_000_000
"""Queries of the built-in day: a fast model gets a lower peak."""


class Effort(NamedTuple):
    """Least seconds of a run that counts and of a probe, and processes a side."""

    seconds: float
    probe: float
    processes: int


EFFORTS = {
    "quick": Effort(1.0, 0.5, 2),
    "standard": Effort(5.0, 1.0, 3),
    "thorough": Effort(60.0, 3.0, 4),
}


class Serving:
    """What the suites ask of a run's engine; every load is a timed section of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.settings = engine, engine.settings
        self.effort = EFFORTS[engine.settings.effort]
        self.trace = traffic.read(self.settings.traffic) if self.settings.traffic else None

    def baseline(self, cell: Cell) -> Cell:
        """FP32 on the cell's device, which it is told against."""
        target = self.engine.device_of(cell.target)
        return matrix.cell(self.engine.catalog, cell.model, BASELINE, target)

    def arguments(self, cell: Cell) -> dict[str, Any]:
        """What every load of a cell is told."""
        engine = self.engine
        return {
            **engine.arm(cell),
            "artifact": str(engine.artifact(cell).path),
            "baseline_outputs": str(engine.baseline(cell.model, cell.target).outputs),
            "deadline": self.settings.deadline,
            "seconds": self.effort.seconds,
            "probe_seconds": self.effort.probe,
        }

    def load(self, cell: Cell, function: str, name: str, **more: Any) -> dict[str, Any]:
        """One load, its logs below the report's folder without names of this machine."""
        folder = self.settings.report / FOLDER / cell.id / name

        def make() -> dict[str, Any]:
            arguments = {**self.arguments(cell), "folder": str(folder), **more}
            try:
                return self.engine.job(function, cell.id, "load", arguments, timed=True)
            finally:
                _clean(folder)

        return self.engine.once((function, name, cell), make)

    def realtime(self, cell: Cell) -> dict[str, Any]:
        """Latencies, the search for a policy, and rates that count: first process."""
        return self.load(cell, "serving_realtime", "realtime")

    def cloud(self, cell: Cell) -> dict[tuple[int, int], dict[str, Any]]:
        """By instances and threads: Offline, the search, and a rate that counts."""
        return {
            (instances, threads): self.load(
                cell,
                "serving_cloud",
                f"cloud-{instances}x{threads}",
                instances=instances,
                threads=threads,
            )
            for instances, threads in layouts(host_cpus())
        }

    def runs(self, cell: Cell, what: str) -> list[dict[str, Any]]:
        """LoadGen runs at a cell's best, one a process; empty where nothing keeps the deadline.

        what: "realtime" for the best batching policy; of the best layout "best" for Server's rate
        and "offline" for Offline's.
        """
        chosen = self._chosen(cell, what)
        if chosen is None:
            return []
        rest = [self._once_more(cell, chosen, one) for one in range(1, self.effort.processes)]
        return [chosen.told(chosen.first[chosen.kind]), *rest]

    def again(self, base: Cell, cell: Cell, what: str) -> dict[str, list[dict[str, Any]]]:
        """Fresh processes of both cells, in turns, at what each one's best was."""
        sides = {"baseline": base, "candidate": cell}
        chosen = {arm: self._chosen(one, what) for arm, one in sides.items()}
        found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in sides}
        for number in range(self.effort.processes, 2 * self.effort.processes):
            for arm in list(sides)[:: -1 if number % 2 else 1]:
                best = chosen[arm]
                if best is not None:
                    # FP32's are taken anew beside each rival: a minute that it shares with none
                    # says nothing of the other.
                    label = "" if sides[arm] == cell else f"-beside-{cell.technique}"
                    found[arm].append(self._once_more(sides[arm], best, number, label))
        return found

    def _chosen(self, cell: Cell, what: str) -> _Chosen | None:
        if what == "realtime":
            first = self.realtime(cell)
            threads = self.settings.threads.count
            return _Chosen(first, what, 1, threads, "best") if first["best"] else None
        found = self.cloud(cell)
        rated = {key: one[what]["rate"] for key, one in found.items() if one[what]}
        if not rated:
            return None
        instances, threads = max(rated, key=lambda key: rated[key] or 0.0)
        return _Chosen(found[instances, threads], f"cloud-{what}", instances, threads, what)

    def _once_more(
        self, cell: Cell, chosen: _Chosen, number: int, label: str = ""
    ) -> dict[str, Any]:
        run = chosen.first[chosen.kind]
        found = self.load(
            cell,
            "serving_confirm",
            f"{chosen.name}-{number}{label}",
            number=number,
            instances=chosen.instances,
            threads=chosen.threads,
            policy=_policy(run),
            rate=_asked(chosen.first) if chosen.kind == "best" else None,
            offline=chosen.kind == "offline",
        )
        return chosen.told(found[chosen.kind])

    def answers(self, cell: Cell, suite: str) -> dict[str, Any]:
        """The evaluation split asked under the load that the suite measures."""
        more: dict[str, Any] = {"rate": None}
        if suite == "realtime":
            first = self.realtime(cell)
            chosen = first["best"] or first["search"]["nearest"]
            more["rate"] = 0.9 * first["best"]["rate"] if first["best"] else None
        else:
            first = next(iter(self.cloud(cell).values()))
            chosen = first["offline"]
        more["policy"] = _policy(chosen)
        more["scenario"] = "Server" if suite == "realtime" else "Offline"
        return self.load(cell, "serving_answers", f"{suite}-answers", **more)

    def overhead(self, cell: Cell) -> dict[str, Any]:
        """What LoadGen and the way to a server cost by themselves, once a run."""
        folder = self.settings.report / FOLDER / "overhead"

        def make() -> dict[str, Any]:
            arguments = {"target": cell.target, "folder": str(folder)}
            try:
                return self.engine.job("serving_overhead", "LoadGen", "load", arguments, timed=True)
            finally:
                _clean(folder)

        return self.engine.once(("serving_overhead",), make)

    def simulated(self, cell: Cell) -> dict[str, Any] | None:
        """The simulated fleet of a cell over the trace; None where no rate keeps the objective."""

        def make() -> dict[str, Any] | None:
            trace = self._traffic(cell)
            runs = self.runs(cell, "best")
            if trace is None or not runs:
                return None
            run = runs[0]
            threads = run["threads"]
            cold = self.load(cell, "serving_cold", "cold", threads=threads)["cold_start_s"]
            replica = {
                "policy": _policy(run),
                "services": self.cloud(cell)[run["instances"], threads]["services"],
                "rate": median(one["rate"] for one in runs),
                "cold_start": cold,
                "instances": run["instances"],
            }
            arguments = {
                "replica": replica,
                "trace": [list(trace.rates), trace.step, trace.name],
                "deadline": self.settings.deadline,
            }
            found = self.engine.job("serving_fleet", cell.id, "simulate", arguments)
            bad = next((one for one in runs if not one["valid"]), None)
            doubt = None if bad is None else invalid(bad)
            return {**found, "cold_start_s": cold, "replica_rate": replica["rate"], "doubt": doubt}

        return self.engine.once(("fleet", cell), make)

    def _traffic(self, cell: Cell) -> traffic.Trace | None:
        """The user's, or a day whose peak is four FP32 replicas'."""
        if self.trace is not None:
            return self.trace
        runs = self.runs(self.baseline(cell), "best") or self.runs(cell, "best")
        if not runs:
            return None
        peak = PEAK * median(run["rate"] for run in runs)
        return traffic.day(peak * min(1.0, MOST_DAY / traffic.day(peak).queries))


class _Chosen(NamedTuple):
    """Where a cell is at its best: the load that found it, and what is asked of others.

    kind: which of that load's runs it is, "best" or "offline".
    """

    first: dict[str, Any]
    name: str
    instances: int
    threads: int
    kind: str

    def told(self, run: dict[str, Any]) -> dict[str, Any]:
        return {**run, "instances": self.instances, "threads": self.threads}


def _policy(run: dict[str, Any]) -> list[float]:
    """A run's largest batch, and its wait in s."""
    return [run["largest_batch"], run["wait_ms"] / 1000]


def _asked(first: dict[str, Any]) -> float:
    """Where a further process begins: at the rate that was found, not at the one that counted."""
    return first["search"]["best"]["rate"]


def host_cpus() -> int:
    """The whole CPUs that this process may use."""
    return max(1, math.floor(allowance().cpus))


def layouts(cpus: int) -> Sequence[tuple[int, int]]:
    """Instances and threads that fill this host, and one instance with one thread."""
    found = [(1, 1)]
    threads = 1
    while threads <= cpus:
        found.append((cpus // threads, threads))
        threads *= 2
    return list(dict.fromkeys([*found, (1, cpus)]))


def _clean(folder: Path) -> None:
    """Rewrite LoadGen's logs without names of this machine."""
    for path in sorted(folder.rglob("mlperf_log_*.txt")):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(scrub(path.read_text(errors="replace")))
        temporary.replace(path)


def expected(durations: Durations, cell: Cell, gate: str) -> float:
    """Seconds that a gate will take, by earlier durations: a cell's gates share its loads."""
    jobs = {
        "realtime_answers": ("serving_realtime", 2),
        "cloud_answers": ("serving_cloud", 2 * len(layouts(host_cpus()))),
    }
    if gate not in jobs:
        return 0.0
    return jobs[gate][1] * durations.guess(cell.id, "load")
