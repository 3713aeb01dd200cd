"""What an automatic cell has found: it is judged, and told, as the pipeline that it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gauge.policy import CellFacts
from suites import matrix
from suites.engine import Stopped

if TYPE_CHECKING:
    from suites.matrix import Cell
    from suites.run import Run


def pipeline(run: Run, cell: Cell) -> Cell | None:
    """The cell of the pipeline that was found; None before that, and for all other cells."""
    if not cell.automatic or not run.begun or not run.engine.known("artifact", cell):
        return None
    try:
        stages = run.engine.artifact(cell).meta["stages"][len(cell.stages) :]
    except Stopped:
        return None
    return matrix.made(run.catalog, cell.model, stages, cell.target)


def like(run: Run, cell: Cell) -> Cell:
    """The cell that says what this one consists of: what was found, or itself."""
    return pipeline(run, cell) or cell


def facts(run: Run, cell: Cell) -> CellFacts:
    """What the policy is asked about."""
    return like(run, cell).facts


def _undecided(
    run: Run, cell: Cell, turned_down: dict[str, Any], command: Callable[[Cell, str], str]
) -> dict[str, Any]:
    """A pipeline that was turned down for want of samples, and how to have it judged."""
    stages = [{"technique": name, "params": params} for name, params in turned_down["stages"]]
    one = matrix.made(run.catalog, cell.model, stages, cell.target)
    return {
        "pipeline": one.technique,
        **{name: turned_down[name] for name in ("drop", "drop_error", "share")},
        "command": command(one, "accuracy"),
    }


def told(run: Run, cell: Cell, command: Callable[..., str]) -> dict[str, Any]:
    """For the record: the pipeline and the command that rebuilds it without a search.

    Where throughput was asked for, also in which batches it is reached, what a call with one takes
    and how much memory, each arm in a process of its own.
    command: makes one of (run, cell, gate, batches).
    """
    one = pipeline(run, cell)
    if one is None:
        return {}
    search = run.engine.artifact(cell).meta["stages"][0]["notes"]["search"]
    size = search["batch"]
    gated = None if size is None else [size]

    def again(what: Cell, gate: str) -> str:
        return command(run, what, gate, gated)

    found: dict[str, Any] = {
        "pipeline": one.technique,
        "command": again(one, "evidence"),
        "undecided": [_undecided(run, cell, other, again) for other in search["undecided"]],
    }
    if size is not None:
        each = search["trials"][search["chosen"]]["sample_ms"]
        memory = {
            arm: run.engine.memory(cell, size, 0, candidate=arm == "candidate")["bytes"]
            for arm in ("baseline", "candidate")
        }
        found["batch"] = {
            "size": size,
            "samples_per_second": 1e3 / each,
            "call_ms": size * each,
            "memory_bytes": memory,
        }
    return {"found": found}
