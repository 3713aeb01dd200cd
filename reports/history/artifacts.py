"""Artifacts kept in a history by their SHA-256, for machines whose cache does not have them.

The SHA-256 is that of the artifact's manifest, which holds every other file's: what is opened later
is what was measured, or is refused.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from reports.history.store import History
from reports.plain import mapping

FOLDER = "artifacts"
INSIDE, MANIFEST = "artifact", "manifest.json"


def place(history: History, sha256: str) -> Path:
    """The folder of an artifact, there or not; the artifact itself is `artifact` in it."""
    return history.path / FOLDER / sha256


def keep(history: History, run: str, cache: Path) -> tuple[int, list[str]]:
    """Copy a run's artifacts from a cache; how many are kept now, and the cells that it lacks.

    OSError when they cannot be written; what was copied until then is whole.
    """
    kept, absent = 0, []
    for cell, known in mapping(history.runs[run].get("artifacts")).items():
        target = place(history, known["sha256"])
        source = cache / FOLDER / known["key"][:32] / INSIDE
        if target.is_dir():
            kept += 1
        elif _is(source, known["sha256"]):
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
