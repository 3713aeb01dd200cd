"""How long the rest of a run will take, by the durations of earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauge.verdict import TIMED_GATES, deployment_of
from suites import edge, serving
from suites.builds import BUILD

if TYPE_CHECKING:
    from suites.run import Run


def remaining(run: Run) -> float:
    """Seconds that the rest will take, by earlier durations."""
    guess = run.engine.durations.guess
    total = run.rounds.expected() + run.training.rounds.expected()
    built = set()
    for nodeid, (cell, gate, _) in run.selected.items():
        if nodeid in run.records or gate in TIMED_GATES:
            continue
        if cell.trains:
            total += run.training.expected(cell, gate)
            continue
        if gate == BUILD:
            total += 0.0 if run.engine.known("artifact", cell) else guess(cell.id, "apply")
        elif gate == "memory":
            total += guess(cell.id, "memory")
        elif deployment_of(gate):
            total += serving.expected(run.engine.durations, cell, gate)
            total += edge.expected(run.engine.durations, cell, gate)
        elif cell not in built and not run.engine.known("examined", cell):
            built.add(cell)
            total += guess(cell.id, "examine")
            if not run.engine.known("artifact", cell):
                total += guess(cell.id, "apply")
    return total
