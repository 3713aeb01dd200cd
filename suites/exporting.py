"""--export: copies of the artifacts whose gates all passed, each with a snippet that loads it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauge.verdict import GATES, Status
from reports import formats, release
from suites.engine import Stopped

if TYPE_CHECKING:
    from suites.matrix import Cell
    from suites.run import Run

DECIDED = {Status.PASS, Status.WAIVED}
KEPT = {*DECIDED, Status.NO_EXPECTATION}
SNIPPET = '''"""Loads this artifact: {cell}."""

from pathlib import Path

from gauge import targets
from optimizers import artifact

optimized = artifact.load(Path(__file__).parent / "artifact", targets.get({target!r}))
# Call it as the model is called; inputs go through targets.get({target!r}).cast(...) first.
'''


def export(run: Run, *, approved: bool) -> list[str]:
    """Copy each cell whose verdicts all pass (or are waived, or have no limit).

    approved: whether the run may end with exit code 0. Where it does as a release, release.json
    lists what it approves; any other run takes away the list of an earlier one, which would speak
    of other files. Returns what there is to tell.
    """
    folder = run.settings.export
    assert folder is not None
    (folder / release.FILE).unlink(missing_ok=True)
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for record in run.records.values():
        verdicts.setdefault(record["id"], []).append(record)
    passing = [cell for cell in run.asked_cells if _passes(verdicts.get(cell.id, []))]
    for cell in passing:
        _copy(run, cell, folder, _waivers(verdicts[cell.id]))
    told = [f"exported: {formats.count(len(passing), 'artifact')}"]
    if run.settings.gate != "release":
        return told
    if not approved:
        return [*told, f"no {release.FILE}: this run cannot be released"]
    if run.header.get("shard"):
        return [*told, f"no {release.FILE}: one part of a run approves nothing"]
    return [*told, *_approve(run, folder, passing, verdicts)]


def _approve(
    run: Run, folder: Path, passing: list[Cell], verdicts: dict[str, list[dict[str, Any]]]
) -> list[str]:
    """Write release.json for the cells of which every gate was asked; names the others."""
    whole, told = [], []
    for cell in passing:
        missing = [gate for gate in GATES if gate not in {one["gate"] for one in verdicts[cell.id]}]
        if missing:
            told.append(f"not in {release.FILE}: {cell.id}, not asked for {', '.join(missing)}")
            continue
        whole.append(
            {
                "cell": cell.id,
                "class": cell.cls,
                "weights_sha256": run.header["models"].get(cell.model, {}).get("sha256"),
                "gates": {_gate(one): one["status"] for one in verdicts[cell.id]},
                "waived": _waivers(verdicts[cell.id]),
            }
        )
    if not whole:
        return [*told, f"no {release.FILE}: no artifact to approve"]
    path = release.write(folder, run.header, whole)
    return [*told, f"approved: {formats.count(len(whole), 'artifact')} in {path}"]


def _passes(verdicts: list[dict[str, Any]]) -> bool:
    statuses = {Status(one["status"]) for one in verdicts}
    late = any(one["evidence"].get("waiver", {}).get("expired") for one in verdicts)
    return bool(statuses & DECIDED) and statuses <= KEPT and not late


def _gate(record: dict[str, Any]) -> str:
    return record["gate"] if record["batch"] is None else f"{record['gate']}-b{record['batch']}"


def _waivers(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By whose word a failure ships: the waivers that hold for a cell's gates."""
    return [
        {"gate": _gate(one), **one["evidence"]["waiver"]}
        for one in verdicts
        if one["status"] == Status.WAIVED
    ]


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
