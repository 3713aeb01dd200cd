"""What suites/test_edge.py measures of one run's cells: each once, on demand."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from suites import matrix
from suites.catalog import CLASS_OF, ROOT, Catalog, Definition
from suites.durations import Durations
from suites.engine import Engine
from suites.matrix import Cell
from suites.rounds import BARE

STARTS = {"quick": 6, "standard": 7, "thorough": 15}
"""Cold starts a side: six are the fewest whose smallest and largest cover the median at 95 %."""

PROCESSES = {"quick": 2, "standard": 3, "thorough": 6}
"""Processes that time a call, beside FP32 in turns."""


class Edge:
    """What the edge gates ask of one run's engine."""

    def __init__(self, engine: Engine, effort: str) -> None:
        self.engine = engine
        self.starts = STARTS[effort]
        self.processes = PROCESSES[effort]

    def counted(self, cell: Cell, *, candidate: bool) -> dict[str, Any]:
        """Parameters, multiply-accumulates and elements moved (gauge.counting) of one side."""
        structural = self._structural(cell) if candidate else None
        batch = self.batch(cell)
        key = ("edge_count", cell.model, structural.id if structural else None, batch)

        def make() -> dict[str, Any]:
            entry = self.engine.artifact(structural) if structural else None
            arguments = {
                **self.engine.arm(structural or cell),
                "artifact": str(entry.path) if entry else None,
                "batch": batch,
            }
            label = structural.id if structural else cell.model
            return self.engine.job("edge_count", label, "count", arguments, shown=False)

        return self.engine.once(key, make)

    def _structural(self, cell: Cell) -> Cell | None:
        """The cell up to its last stage that changes more than numerics; None for FP32's structure.

        Only an eager module can be counted, and what changes numerics only leaves the counts alone.
        """
        changing = [
            index
            for index, stage in enumerate(cell.stages)
            if self._class(stage.technique) != CLASS_OF["numerics"]
        ]
        if not changing:
            return None
        end = changing[-1] + 1
        if end == len(cell.stages):
            return cell
        device = self.engine.device_of(cell.target)
        return matrix.prefixes(self.engine.catalog, cell, device)[end - 1]

    def _class(self, technique: str) -> str:
        return CLASS_OF[self.engine.catalog.techniques[technique].attributes["changes"]]

    def machine(self, target: str) -> dict[str, Any]:
        """The device's own peaks (gauge.roofline), measured once a run."""
        make = lambda: self.engine.job(  # noqa: E731
            "edge_machine", target, "roofline", {"target": target}, timed=True
        )
        return self.engine.once(("edge_machine", self.engine.device_of(target)), make)

    def started(self, cell: Cell) -> dict[str, Any]:
        """Cold starts of FP32 and the artifact in turns: seconds, peak memory, loaded files."""

        def make() -> dict[str, Any]:
            arguments = {
                **self.engine.arm(cell),
                "artifact": str(self.engine.artifact(cell).path),
                "starts": self.starts,
                "modules": {
                    "baseline": self._modules(cell, stages=False),
                    "candidate": self._modules(cell, stages=True),
                },
            }
            return self.engine.job("edge_start", cell.id, "cold start", arguments, timed=True)

        return self.engine.once(("edge_start", cell), make)

    def _modules(self, cell: Cell, *, stages: bool) -> list[str]:
        """The project's modules that an eager artifact's loader needs, so that it loads no others.

        Those of plug-ins are loaded from their files.
        """
        catalog: Catalog = self.engine.catalog
        needed: list[Definition] = [catalog.models[cell.model], catalog.targets[cell.target]]
        if stages:
            needed += [catalog.techniques[stage.technique] for stage in cell.stages]
        return [_module(one.path) for one in needed if not one.plugin]

    def timed(self, cell: Cell) -> list[dict[str, Any]]:
        """Processes that took calls of FP32 and of the artifact in turns, at the edge's batch."""
        batch = self.batch(cell)

        def make(number: int) -> dict[str, Any]:
            found = self.engine.speed_process(cell, {batch: BARE}, number, cell.id, control=False)
            measured: dict[str, Any] = found["batches"][str(batch)]
            return measured

        def once(number: int) -> dict[str, Any]:
            key = ("edge_timed", cell, number)
            found: dict[str, Any] = self.engine.once(key, functools.partial(make, number))
            return found

        processes = [once(number) for number in range(self.processes)]
        spoiled = [number for number, one in enumerate(processes) if one.get("invalid")]
        if len(spoiled) == 1:
            # As in the speed gate: a busy machine spoils one now and then.
            processes[spoiled[0]] = once(self.processes)
        return processes

    def batch(self, cell: Cell) -> int:
        """1, or the only batch that the artifact takes."""
        return self.engine.artifact(cell).meta["batch"] or 1


def expected(durations: Durations, cell: Cell, gate: str) -> float:
    """Seconds that a gate will take, by earlier durations."""
    if gate == "edge_cold_start":
        return durations.guess(cell.id, "cold start")
    return PROCESSES["standard"] * durations.guess(cell.id, "speed") * (gate == "edge_roofline")


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)
