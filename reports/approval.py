"""What a run that may be released approves: artifacts whose every gate was asked and holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reports import records
from reports.plain import mapping
from reports.records import Record, RecordError, Records
from reports.release import FILE, OWN, VERSION, digest
from reports.summarize import SHIP, summarize

DECIDED = {"PASS", "WAIVED"}
KEPT = {*DECIDED, "NO_EXPECTATION"}
NEEDED = ("evidence", "reload", "accuracy", "fidelity", "size", "speed", "memory")
"""What every approved artifact was asked, with a limit or without; other gates may come on top."""

MANIFEST = "manifest.json"


def passes(verdicts: Iterable[Record]) -> bool:
    """Whether a cell's verdicts all pass, are waived (by a waiver in force), or have no limit."""
    verdicts = list(verdicts)
    statuses = {one["status"] for one in verdicts}
    late = any(_waiver(one).get("expired") for one in verdicts)
    return bool(statuses & DECIDED) and statuses <= KEPT and not late


def waived(verdicts: Iterable[Record]) -> list[dict[str, Any]]:
    """By whose word a failure ships: the waivers that hold for a cell's gates."""
    return [{"gate": _gate(one), **_waiver(one)} for one in verdicts if one["status"] == "WAIVED"]


def refused(found: Records) -> str | None:
    """Why a run approves nothing, or None."""
    if found.run.get("gate") != "release":
        return "it is no release: run with --gate release"
    if found.run.get("shard"):
        return "it is one part of a run: put the parts together with `python -m reports merge`"
    summary = summarize(found)
    return None if summary.verdict == SHIP else f"{summary.verdict}: {summary.sentence}"


def approvable(found: Records) -> tuple[list[dict[str, Any]], list[str]]:
    """The artifacts that a run may approve, and what is said of those that only seem so."""
    cells: dict[str, list[Record]] = {}
    for verdict in found.verdicts:
        cells.setdefault("-".join(records.cell_key(verdict["cell"])), []).append(verdict)
    approved, told = [], []
    for cell, verdicts in cells.items():
        if not passes(verdicts):
            continue
        missing = [gate for gate in NEEDED if gate not in {one["gate"] for one in verdicts}]
        if len(missing) == len(NEEDED):
            continue  # a training, or only put under load: its artifact was not judged here
        if missing:
            told.append(f"not in {FILE}: {cell}, not asked for {', '.join(missing)}")
            continue
        weights = mapping(mapping(found.run.get("models")).get(verdicts[0]["cell"]["model"]))
        approved.append(
            {
                "cell": cell,
                "class": verdicts[0].get("class"),
                "weights_sha256": weights.get("sha256"),
                "gates": {_gate(one): one["status"] for one in verdicts},
                "waived": waived(verdicts),
            }
        )
    return approved, told


def write(folder: Path, run: Record, artifacts: Iterable[dict[str, Any]]) -> Path:
    """Write release.json into the folder of exported artifacts; returns its path.

    run: the approving run's own record. artifacts: as `approvable` gives them; every file of a
    cell's folder is listed.
    """
    listed = []
    for one in artifacts:
        paths = sorted(path for path in (folder / one["cell"]).rglob("*") if path.is_file())
        files = {
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": digest(path),
            }
            for path in paths
        }
        listed.append({**one, "files": files})
    kept = ("run", "shards", "finished", "commit", "dirty", "policy", "policy_sha256", "targets")
    content = {
        "kind": "release",
        "schema": VERSION,
        **{name: run[name] for name in kept if name in run},
        "cpu": mapping(run.get("machine")).get("cpu"),
        "artifacts": listed,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path = folder / FILE
    records.replace(path, text.encode())
    return path


def check_exported(folder: Path, run: Record, cell: str) -> None:
    """Raise RecordError unless a cell's exported artifact is the one that the run measured."""
    measured = mapping(mapping(run.get("artifacts")).get(cell)).get("sha256")
    if measured is None:
        what = f"the run's record holds no SHA-256 of the artifact of {cell}"
        raise RecordError(None, None, what, "measure again with this version")
    place = folder / cell / OWN
    manifest = place / MANIFEST
    again = "export it again from the run that measured it"
    if not manifest.is_file():
        raise RecordError(manifest, None, "it is not there", again)
    if digest(manifest) != measured:
        raise RecordError(manifest, None, "not the artifact that the run measured", again)
    files = json.loads(manifest.read_bytes())["files"]
    present = {path.relative_to(place).as_posix(): path for path in place.rglob("*")}
    present = {name: path for name, path in present.items() if not path.is_dir()}
    for name in sorted({*files, *present} - {MANIFEST}):
        if name not in present or name not in files:
            raise RecordError(place / name, None, "missing, or not of the artifact", again)
        if digest(present[name]) != files[name]["sha256"]:
            raise RecordError(place / name, None, "changed since it was measured", again)


def _waiver(verdict: Record) -> dict[str, Any]:
    return mapping(mapping(verdict.get("evidence")).get("waiver"))


def _gate(verdict: Record) -> str:
    batch = verdict.get("batch")
    return verdict["gate"] if batch is None else f"{verdict['gate']}-b{batch}"
