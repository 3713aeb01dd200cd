"""--export: copies of the artifacts whose gates all passed, each with a snippet that loads it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from gauge.verdict import Status, deployment_of
from suites.engine import Stopped

if TYPE_CHECKING:
    from suites.matrix import Cell
    from suites.run import Run

KEPT = {Status.PASS, Status.NO_EXPECTATION}
SNIPPET = '''"""Loads this artifact: {cell}."""

from pathlib import Path

from gauge import targets
from optimizers import artifact

optimized = artifact.load(Path(__file__).parent / "artifact", targets.get({target!r}))
# Call it as the model is called; inputs go through targets.get({target!r}).cast(...) first.
'''


def export(run: Run) -> list[Path]:
    """Copy each cell whose verdicts are all PASS (or have no limit); returns the folders."""
    folder = run.settings.export
    assert folder is not None
    written = []
    for cell in run.asked_cells:
        own = [record for record in run.records.values() if record["id"] == cell.id]
        statuses = {Status(record["status"]) for record in own}
        if all(deployment_of(record["gate"]) for record in own):
            continue  # it may bear a load, but nobody asked here what else it takes to pass
        if Status.PASS in statuses and statuses <= KEPT:
            written.append(_copy(run, cell, folder))
    return written


def _copy(run: Run, cell: Cell, folder: Path) -> Path:
    try:
        entry = run.engine.artifact(cell)
    except Stopped as stopped:  # it passed, so it was there a moment ago
        raise RuntimeError(f"the artifact of {cell.id} is gone: {stopped}") from stopped
    target = folder / cell.id
    temporary = folder / f".{cell.id}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(entry.path / "artifact", temporary / "artifact")
    (temporary / "load.py").write_text(SNIPPET.format(cell=cell.id, target=cell.target))
    facts = {"cell": cell.id, "run": run.run_id, "stages": entry.meta["stages"]}
    (temporary / "about.json").write_text(json.dumps(facts, indent=1))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    return target
