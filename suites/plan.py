"""--plan: what a run would do, what it would hold cells to, and how long it would take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gauge import paired, resolution
from gauge.cache import Cache, DamagedEntry
from gauge.groups import planned
from gauge.machine import cpu_flags
from gauge.policy import Limit
from gauge.policy_entry import DIRECTIONS
from gauge.verdict import BATCH_GATES, TIMED_GATES, deployment_of
from reports import waivers
from suites import edge, keys, serving, training
from suites.built import Built
from suites.certified import unknown
from suites.durations import Durations, spoken
from suites.required import left_out
from suites.rounds import CONTROLS
from suites.shard import CONTROL_PROCESSES, PROCESSES
from suites.usual import near_limits

if TYPE_CHECKING:
    from suites.matrix import Cell
    from suites.run import Run

LIMITED = tuple(DIRECTIONS)
CHANGING = 0.02
"""Share of answers that a careful int8 changes: what a plan reckons with beside none."""


def lines(run: Run) -> Iterator[str]:
    """The plan, a line at a time."""
    cells = list(dict.fromkeys(cell for cell, _, _ in run.selected.values()))
    durations = Durations(run.settings.cache / "durations.json")
    built = Built(Cache(run.settings.cache))
    # The plan starts no worker, so what a GPU can do is not known here.
    run.capabilities = {cell.target: cpu_flags() for cell in cells}
    seconds = 0.0
    trained: set[str] = set()
    yield f"{len(cells)} cells, {len(run.selected)} gates; nothing is measured"
    for cell in cells:
        state, cost = _cell(run, built, durations, cell, trained)
        seconds += cost
        yield f"  {cell.id}  [{state}]  {_limits(run, cell)}"
    for timed in TIMED_GATES:
        models = {cell.model for cell, gate, _ in run.selected.values() if gate == timed}
        controls = min(CONTROLS, len(models))
        seconds += controls * CONTROL_PROCESSES * durations.guess("A/A", "speed")
    yield f"about {spoken(seconds)}, by earlier runs where there were any"
    under_load = [cell for cell in run.deployed if cell in cells]
    yield from unknown(under_load, run.settings, run.certified)
    gated = [cell for cell in cells if not cell.trains]
    yield from _resolution(run, gated)
    yield from undecidable(run, gated)
    yield from near_limits(run)
    yield from left_out(run)
    yield from (one.line for one in waivers.stale(run.policy_part, []))


def _cell(
    run: Run, built: Built, durations: Durations, cell: Cell, trained: set[str]
) -> tuple[str, float]:
    if cell.trains:
        return _training(run, built.cache, durations, cell)
    seconds, state = 0.0, "to optimise"
    key = keys.weights(run.catalog, cell.model, run.settings)
    try:
        entry = built.find("weights", key)
    except DamagedEntry:
        entry = None  # it is built again
    if entry is None:
        state = "to train and optimise"
        if cell.model not in trained:
            seconds += durations.guess(cell.model, "train")
    else:
        wanted = keys.artifact(run.catalog, cell, run.settings, entry.meta["sha256"])
        if built.has("artifacts", wanted):
            state = "cached"
    if cell.model not in trained:
        seconds += durations.guess(cell.model, "baseline")
    trained.add(cell.model)
    if state != "cached":
        seconds += durations.guess(cell.id, "apply")
    gates = [gate for one, gate, _ in run.selected.values() if one == cell]
    seconds += sum(serving.expected(durations, cell, gate) for gate in gates)
    seconds += sum(edge.expected(durations, cell, gate) for gate in gates)
    gates = [gate for gate in gates if deployment_of(gate) is None]
    if set(gates) - {"speed", "memory"}:
        seconds += durations.guess(cell.id, "examine")
    seconds += gates.count("memory") * durations.guess(cell.id, "memory")
    if "speed" in gates:
        seconds += PROCESSES * durations.guess(cell.id, "speed")
    return state, seconds


def _training(run: Run, cache: Cache, durations: Durations, cell: Cell) -> tuple[str, float]:
    """What a cell of suites/test_training.py still has to train, and how long it takes."""
    told = training.foreseen(cache, run.catalog, durations, cell, run.settings)
    gates = [gate for one, gate, _ in run.selected.values() if one == cell]
    seconds = told.seconds
    seconds += 2 * gates.count("training_memory") * durations.guess(cell.id, "memory")
    seconds += PROCESSES * gates.count("training_speed") * durations.guess(cell.id, "speed")
    most = training.most_steps(run.catalog, cell)
    what = "trainings" if most is None else f"trainings of {most} steps"
    state = f"{told.left} of {told.of} {what} to do" if told.left else f"{told.of} {what} cached"
    return state, seconds


def _limits(run: Run, cell: Cell) -> str:
    shown = []
    asked = [(gate, batch) for one, gate, batch in run.selected.values() if one == cell]
    for gate, batch in asked:
        if gate not in LIMITED:
            continue
        name = f"{gate}-b{batch}" if gate in BATCH_GATES else gate
        limit = run.limit(cell, gate, batch)
        if isinstance(limit, Limit):
            sign = ">=" if limit.min is not None else "<="
            shown.append(f"{name} {sign} {limit.bound:g} ({limit.source})")
        elif limit.source != "default":
            shown.append(f"{name}: no expectation ({limit.source})")
    return ", ".join(shown)


def _resolution(run: Run, cells: list[Cell]) -> Iterator[str]:
    """The smallest accuracy limit that each model's evaluation split can decide."""
    for model in dict.fromkeys(cell.model for cell in cells):
        split = _Evaluation.of(run, model)
        if split.samples:
            least, some = (f"{100 * split.resolves(rho):.2f}" for rho in (0.0, CHANGING))
            yield (
                f"{model}: {split} decide an accuracy limit of {least} points where no answer "
                f"changes, {some} where {CHANGING:.0%} do"
            )


@dataclass(frozen=True)
class _Evaluation:
    """A model's evaluation split as its source states it; 0 samples where it does not."""

    samples: int
    groups: int | None

    @classmethod
    def of(cls, run: Run, model: str) -> _Evaluation:
        stated = run.catalog.models[model].attributes
        return cls(stated["evaluation_samples"] or 0, stated["evaluation_groups"])

    def __str__(self) -> str:
        grouped = f" in {self.groups} groups" if self.groups else ""
        return f"{self.samples} evaluation samples{grouped}"

    @property
    def _design(self) -> tuple[float, int | None]:
        if not self.groups:
            return 1.0, None
        return planned(self.samples, self.groups), max(1, self.groups - 1)

    def resolves(self, rho: float) -> float:
        effect, degrees = self._design
        return resolution.resolvable(self.samples, rho * effect, effect, degrees)

    def needs(self, margin: float) -> str:
        """What a limit takes before any answer changes, in words."""
        wanted = resolution.needed(margin, 0.0, *self._design)
        if not math.isfinite(wanted):
            return "a limit above 0"
        return f"at least {paired.in_groups(wanted, self.samples, self.groups)}"

    def decides(self, margin: float) -> bool:
        """Whether PASS is possible at all, however good a candidate is."""
        enough = self.samples >= resolution.needed(margin, 0.0, *self._design)
        return enough and (not self.groups or self.groups >= paired.FEWEST_GROUPS)


def undecidable(run: Run, cells: list[Cell]) -> Iterator[str]:
    """Accuracy limits that the evaluation split cannot decide, however good the candidate is."""
    told = set()
    for cell in cells:
        split = _Evaluation.of(run, cell.model)
        limit = run.limit(cell, "accuracy", None)
        if not split.samples or not isinstance(limit, Limit):
            continue
        if not split.decides(limit.bound) and (cell.model, limit.source) not in told:
            told.add((cell.model, limit.source))
            yield (
                f"{cell.model}: {split} cannot decide accuracy <= {limit.bound:g} "
                f"({limit.source}); it takes {split.needs(limit.bound)}"
            )
