"""--export: copies of the artifacts whose gates all passed, each with a snippet that loads it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports import approval, formats
from reports.records import Records
from reports.release import FILE
from suites import asking
from suites.engine import Stopped

if TYPE_CHECKING:
    from suites.matrix import Cell
    from suites.run import Run

SNIPPET = '''"""Loads this artifact: {cell}."""

from pathlib import Path

from gauge import targets
from optimizers import artifact

optimized = artifact.load(Path(__file__).parent / "artifact", targets.get({target!r}))
# Call it as the model is called; inputs go through targets.get({target!r}).cast(...) first.
'''


def export(run: Run, *, releasable: bool) -> list[str]:
    """Copy each cell whose verdicts all pass (or are waived, or have no limit).

    releasable: whether the run ends with exit code 0. Where it does as a release, release.json
    lists what it approves; any other run takes away the list of an earlier one, which would speak
    of other files. Returns what there is to tell.
    """
    folder = run.settings.export
    assert folder is not None
    (folder / FILE).unlink(missing_ok=True)
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for record in run.records.values():
        verdicts.setdefault(record["id"], []).append(record)
    passing = [
        cell
        for cell in run.asked_cells
        # A training has nothing optimised to take along; what was only put under load may bear it,
        # but nobody asked here what else it takes to pass.
        if any(asking.HOMES[one["gate"]] == asking.GATES for one in verdicts.get(cell.id, []))
        and approval.passes(verdicts[cell.id])
    ]
    for cell in passing:
        _copy(run, cell, folder, approval.waived(verdicts[cell.id]))
    told = [f"exported: {formats.count(len(passing), 'artifact')}"]
    if run.settings.gate == "release":
        told += _approve(run, folder, releasable)
    return told


def _approve(run: Run, folder: Path, releasable: bool) -> list[str]:
    found = Records(run.header, list(run.records.values()))
    why = approval.refused(found)
    if why or not releasable:
        return [f"no {FILE}: {why or 'this run cannot be released'}"]
    artifacts, told = approval.approvable(found)
    if not artifacts:
        return [*told, f"no {FILE}: no artifact to approve"]
    path = approval.write(folder, run.header, artifacts)
    return [*told, f"approved: {formats.count(len(artifacts), 'artifact')} in {path}"]


def _copy(run: Run, cell: Cell, folder: Path, waived: list[dict[str, Any]]) -> None:
    try:
        entry = run.engine.artifact(cell)
    except Stopped as stopped:  # it passed, so it was there a moment ago
        raise RuntimeError(f"the artifact of {cell.id} is gone: {stopped}") from stopped
    target = folder / cell.id
    temporary = folder / f".{cell.id}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(entry.path / "artifact", temporary / "artifact")
    (temporary / "load.py").write_text(SNIPPET.format(cell=cell.id, target=cell.target))
    facts = {"cell": cell.id, "run": run.run_id, "stages": entry.meta["stages"], "waived": waived}
    (temporary / "about.json").write_text(json.dumps(facts, indent=1))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
