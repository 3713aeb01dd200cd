"""Trainings of both sides, times and memory of their steps: each once, kept by content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gauge.cache import Entry, digest
from gauge.length import Length
from gauge.order import candidate_first
from suites import keys
from suites.engine import Engine
from suites.matrix import Cell
from suites.options import Settings
from suites.rounds import Rounds

SEEDS = {"quick": 3, "standard": 3, "thorough": 6}
"""Trainings a side: the fewest that give an interval worth the name, and twice as many."""

STEP = 1
"""The one track of a lane: a step has the batch that its recipe says."""


class Training:
    """What suites/test_training.py asks of one run's engine."""

    def __init__(self, engine: Engine, effort: str) -> None:
        self.engine = engine
        self.seeds = seeds_of(engine.settings)
        self.rounds = Rounds(Steps(self), effort, "training-AA")

    def considered(self, cell: Cell) -> dict[str, Any]:
        """How the technique trains here; Stopped where it refuses."""
        make = lambda: self.engine.job(  # noqa: E731
            "training_consider", cell.id, "refuses", common(cell), keep=False, shown=False
        )
        return self.engine.once(("training_consider", cell), make)

    def seeds_for(self, cell: Cell) -> tuple[int, ...]:
        """The seeds that both sides are trained with: one where it stops too early to score."""
        return self.seeds if self.considered(cell)["most_steps"] is None else self.seeds[:1]

    def run(self, cell: Cell, seed: int, *, candidate: bool) -> Entry:
        """One training: done now, or from the cache. FP32's is shared by all techniques."""
        engine, most = self.engine, self.considered(cell)["most_steps"]
        key = keys.training(engine.catalog, cell, engine.settings, seed, most, candidate)

        def build(directory: Path) -> dict[str, Any]:
            arguments = {
                **common(cell),
                "candidate": candidate,
                "seed": seed,
                "directory": str(directory),
            }
            label = cell.id if candidate else f"{cell.model}-{cell.target}"
            return engine.job("training_run", label, "train", arguments, keep=False)

        return engine.once(
            ("training", digest(key)), lambda: engine.cached("trainings", key, build)
        )

    def memory(self, cell: Cell, number: int, *, candidate: bool) -> dict[str, Any]:
        """Peak memory of one side's first steps, in a process of its own."""
        self.considered(cell)
        arguments = {**common(cell), "candidate": candidate, "number": number}
        make = lambda: self.engine.job("training_memory", cell.id, "memory", arguments)  # noqa: E731
        return self.engine.once(("training_memory", cell, number, candidate), make)

    def open_lanes(self, limits: Mapping[Cell, float | None]) -> None:
        """Cells whose steps are timed in turns; a bound of None is told, not held to.

        With A/A cells: steps of FP32 training against the same, for models that train at all.
        """
        for cell, bound in limits.items():
            if "train" in self.engine.catalog.models[cell.model].methods:
                track = self.rounds.track(STEP, bound, reported=bound is None)
                self.rounds.add(cell, {STEP: track})
        self.rounds.add_controls()

    def expected(self, cell: Cell, gate: str) -> float:
        """Seconds that a gate will take, by earlier durations; times are in the rounds' own."""
        guess = self.engine.durations.guess
        if gate == "training_memory":
            return 2 * guess(cell.id, "memory")
        # The gates of a cell share its trainings.
        new = gate == "training_steps" and not self.engine.known("training_consider", cell)
        return 2 * len(self.seeds) * guess(cell.model, "train") if new else 0.0


class Steps:
    """Times training steps in the place of inferences (suites.rounds.Timer)."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.engine = training.engine
        self.settings, self.durations = self.engine.settings, self.engine.durations

    def device_of(self, target: str) -> str:
        return self.engine.device_of(target)

    def speed_process(
        self,
        cell: Cell,
        lengths: dict[int, Length],
        number: int,
        label: str,
        *,
        control: bool,
        earlier: Path | None = None,
    ) -> dict[str, Any]:
        """One process that takes steps of FP32 training and of the technique's in turns.

        control: of FP32 training and once more of FP32 training.
        """
        assert earlier is None, "no regression of training is confirmed"
        if not control:
            self.training.considered(cell)
        arguments = {
            **common(cell),
            "control": control,
            "batch": STEP,
            "length": asdict(lengths[STEP]),
            "number": number,
            "candidate_first": candidate_first(self.settings.seed, label, number),
        }
        return self.engine.job("training_speed", label, "speed", arguments, timed=True)


def seeds_of(settings: Settings) -> tuple[int, ...]:
    """The seeds that both sides are trained with."""
    return tuple(range(settings.seed, settings.seed + SEEDS[settings.effort]))


def common(cell: Cell) -> dict[str, Any]:
    """The job arguments that name a cell's model, target and technique."""
    stage = cell.stages[0]
    return {
        "model": cell.model,
        "target": cell.target,
        "technique": stage.technique,
        "params": dict(stage.params),
    }
