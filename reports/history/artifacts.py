"""Artifacts kept in a history by their SHA-256, for machines whose cache does not have them.

The SHA-256 is that of the artifact's manifest, which holds every other file's: what is opened later
is what was measured, or is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from reports.history.store import ARTIFACTS, History
from reports.plain import mapping
from reports.records import Record, RecordError

FOLDER = "artifacts"
INSIDE, MANIFEST = "artifact", "manifest.json"


def known(run: Record, folder: Path) -> dict[str, dict[str, str]]:
    """Cell -> SHA-256 and cache key of its artifact, of a run (its own record) in that folder."""
    if run.get("artifacts"):
        return run["artifacts"]
    path = folder / ARTIFACTS
    try:
        return mapping(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        what = f"not strict JSON ({error})"
        raise RecordError(path, None, what, "restore it from a backup, or from git") from error


def place(history: History, sha256: str) -> Path:
    """The folder of an artifact, there or not; the artifact itself is `artifact` in it."""
    return history.path / FOLDER / sha256


def find(history: History, known: Mapping[str, str], cache: Path) -> Path | None:
    """The folder that holds an artifact in a history or a cache, None where neither does.

    known: its SHA-256 and cache key, as of `known`.
    """
    places = (place(history, known["sha256"]), cache / FOLDER / known["key"][:32])
    return next((one for one in places if _is(one / INSIDE, known["sha256"])), None)


def default_cache() -> Path:
    """Where `pytest suites/` keeps artifacts when no option says so."""
    base = os.environ.get("OPTGAUGE_CACHE")
    if base:
        return Path(base).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optgauge"


def keep(history: History, run: str, cache: Path) -> tuple[int, list[str]]:
    """Copy a run's artifacts from a cache; how many are kept now, and the cells that it lacks.

    OSError when they cannot be written; what was copied until then is whole.
    """
    kept, absent = 0, []
    for cell, one in known(history.runs[run], history.folder(run)).items():
        target = place(history, one["sha256"])
        source = cache / FOLDER / one["key"][:32] / INSIDE
        if target.is_dir():
            kept += 1
        elif _is(source, one["sha256"]):
            with history.aside(FOLDER) as aside:
                shutil.copytree(source, aside / INSIDE)
                aside.replace(target)
            kept += 1
        else:
            absent.append(cell)
    return kept, absent


def _is(folder: Path, sha256: str) -> bool:
    try:
        with (folder / MANIFEST).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
