"""What an automatic cell has found: it is judged, and told, as the pipeline that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gauge.policy import CellFacts
from suites import matrix, naming
from suites.engine import Stopped

if TYPE_CHECKING:
    from suites.matrix import Cell
    from suites.run import Run


def pipeline(run: Run, cell: Cell) -> Cell | None:
    """The cell of the pipeline that was found; None before that, and for all other cells."""
    if not cell.automatic or not run.begun or not run.engine.known("artifact", cell):
        return None
    try:
        made = run.engine.artifact(cell).meta["stages"][len(cell.stages) :]
    except Stopped:
        return None
    stages = [(one["technique"], one["params"]) for one in made]
    name = naming.format_pipeline(stages, run.catalog.variants())
    return matrix.cell(run.catalog, cell.model, name, cell.target)


def like(run: Run, cell: Cell) -> Cell:
    """The cell that says what this one consists of: what was found, or itself."""
    return pipeline(run, cell) or cell


def facts(run: Run, cell: Cell) -> CellFacts:
    """What the policy is asked about."""
    return like(run, cell).facts


def told(run: Run, cell: Cell, command: str) -> dict[str, Any]:
    """For the record: the pipeline and the command that rebuilds it without a search."""
    one = pipeline(run, cell)
    return {} if one is None else {"found": {"pipeline": one.technique, "command": command}}
