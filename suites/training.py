"""Trainings of both sides, times and memory of their steps: each once, kept by content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gauge.cache import Cache, Entry, digest
from gauge.length import Length
from gauge.order import candidate_first
from suites import keys
from suites.catalog import Catalog
from suites.durations import Durations
from suites.engine import Engine
from suites.matrix import Cell
from suites.options import Settings
from suites.rounds import Rounds

SEEDS = {"quick": 3, "standard": 3, "thorough": 6}
"""Trainings a side: the fewest that give an interval worth the name, and twice as many."""

FIRST_STEPS = "first steps"

STEP = 1
"""The one track of a lane: a step has the batch that its recipe says."""


class Training:
    """What suites/test_training.py asks of one run's engine."""

    def __init__(self, engine: Engine, effort: str) -> None:
        self.engine = engine
        self.rounds = Rounds(Steps(self), effort, "training-AA")

    def considered(self, cell: Cell) -> dict[str, Any]:
        """How the technique trains here; Stopped where it refuses."""
        make = lambda: self.engine.job(  # noqa: E731
            "training_consider", cell.id, "refuses", common(cell), keep=False, shown=False
        )
        return self.engine.once(("training_consider", cell), make)

    def seeds_for(self, cell: Cell) -> tuple[int, ...]:
        """The seeds that both sides are trained with: one where it stops too early to score."""
        return seeds_of(self.engine.settings, self.considered(cell)["most_steps"])

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
            label = label_of(cell, candidate)
            return engine.job("training_run", label, stage_of(most), arguments, keep=False)

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
        if gate == "training_memory":
            return 2 * self.engine.durations.guess(cell.id, "memory")
        # The gates of a cell share its trainings.
        new = gate == "training_steps" and not self.engine.known("training_consider", cell)
        if not new:
            return 0.0
        engine = self.engine
        told = foreseen(engine.cache, engine.catalog, engine.durations, cell, engine.settings)
        return told.seconds


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


def seeds_of(settings: Settings, most_steps: int | None) -> tuple[int, ...]:
    """The seeds that both sides are trained with: one where they stop too early to score."""
    count = SEEDS[settings.effort] if most_steps is None else 1
    return tuple(range(settings.seed, settings.seed + count))


def most_steps(catalog: Catalog, cell: Cell) -> int | None:
    """Where a cell's trainings will stop, by what its technique states of itself; None: nowhere."""
    on_cpu = catalog.targets[cell.target].attributes["device"] == "cpu"
    stated = catalog.techniques[cell.stages[0].technique].attributes["cpu_steps"]
    return stated if on_cpu else None


@dataclass(frozen=True)
class Foreseen:
    """What a cell still has to train: trainings, of how many, seconds by earlier ones."""

    left: int
    of: int
    seconds: float


def foreseen(
    cache: Cache, catalog: Catalog, durations: Durations, cell: Cell, settings: Settings
) -> Foreseen:
    """What a plan says of a cell's trainings; asks no worker."""
    most = most_steps(catalog, cell)
    wanted = [
        (keys.training(catalog, cell, settings, seed, most, candidate), candidate)
        for seed in seeds_of(settings, most)
        for candidate in (False, True)
    ]
    todo = [side for key, side in wanted if not cache.has("trainings", digest(key))]
    seconds = sum(_seconds(durations, cell, most, candidate) for candidate in todo)
    return Foreseen(len(todo), len(wanted), seconds)


def _seconds(durations: Durations, cell: Cell, most: int | None, candidate: bool) -> float:
    """What a training takes: as this side's did, else as the model's own when it was prepared."""
    stage, label = stage_of(most), label_of(cell, candidate)
    known = most is not None or durations.known(label, stage)
    return durations.guess(label if known else cell.model, stage)


def label_of(cell: Cell, candidate: bool) -> str:
    """Whose training it is: FP32's is shared by all techniques."""
    return cell.id if candidate else f"{cell.model}-{cell.target}"


def stage_of(most: int | None) -> str:
    """What a training is called: those that stop early tell nothing of how long others take."""
    return "train" if most is None else FIRST_STEPS


def common(cell: Cell) -> dict[str, Any]:
    """The job arguments that name a cell's model, target and technique."""
    stage = cell.stages[0]
    return {
        "model": cell.model,
        "target": cell.target,
        "technique": stage.technique,
        "params": dict(stage.params),
    }
