"""--changed-since COMMIT: the cells whose code is not what it was, by the hashes in cache keys.

The commit's files come out of git, so a clone that holds that one commit is deep enough.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from suites import keys
from suites.catalog import ROOT, Catalog
from suites.matrix import Cell

SECONDS = 60.0
PARTS = ("zoo", "optimizers", "gauge", "suites")
EVERYTHING = "pyproject.toml"
"""Other dependencies may change every cell."""
LIMITS = "policy.toml"


@dataclass(frozen=True)
class Changes:
    """cells: those to measure. notices: what changed beside them and is not measured for it."""

    cells: list[Cell]
    notices: list[str]


def since(catalog: Catalog, cells: Sequence[Cell], commit: str, root: Path = ROOT) -> Changes:
    """The cells whose model, technique, target, or anything these import, differs from the commit.

    The files as they are now count, whether committed or not. A plug-in that the commit does not
    hold has changed; so has every cell when pyproject.toml has. Raises pytest.UsageError when git
    cannot give the commit.
    """
    full = _commit(commit, root)
    with tempfile.TemporaryDirectory(prefix="optgauge-") as folder:
        before = Path(folder).resolve()
        _unpack(full, root, before)
        if _differs(EVERYTHING, root, before):
            return Changes(list(cells), [f"{EVERYTHING} has changed: every cell is measured"])
        changed = [cell for cell in cells if _changed(catalog, cell, before)]
        return Changes(changed, _beside(root, before))


def _changed(catalog: Catalog, cell: Cell, before: Path) -> bool:
    try:
        return keys.code(catalog, cell) != keys.code(catalog, cell, before)
    except FileNotFoundError:
        return True
    except SyntaxError:  # the commit's file is no Python of today
        return True


def _beside(root: Path, before: Path) -> list[str]:
    """What changes no cell's own code, yet how it is measured or judged."""
    found = []
    names = {
        path.relative_to(base).as_posix()
        for base in (root, before)
        for part in ("gauge", "suites")
        for path in (base / part).rglob("*.py")
    }
    harness = sorted(name for name in names if _differs(name, root, before))
    if harness:
        more = f" and {len(harness) - 3} more" if len(harness) > 3 else ""
        found.append(
            f"--changed-since: how cells are measured has changed too ({', '.join(harness[:3])}"
            f"{more}); a run without --changed-since measures all of them"
        )
    if _differs(LIMITS, root, before):
        found.append(
            f"--changed-since: {LIMITS} has changed too; a run without --changed-since holds every "
            "cell to it"
        )
    return found


def _differs(name: str, root: Path, before: Path) -> bool:
    now, then = root / name, before / name
    if now.is_file() != then.is_file():
        return True
    return now.is_file() and now.read_bytes() != then.read_bytes()


def _commit(text: str, root: Path) -> str:
    if text.startswith("-"):
        raise pytest.UsageError(f"--changed-since: found {text!r}, expected a git commit")
    done = _git(root, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        why = f" ({reason})" if reason else ""
        raise pytest.UsageError(
            f"--changed-since: git finds no commit {text!r} here{why}; "
            "a shallow clone holds few: fetch it with `git fetch --depth 1 origin COMMIT`, or "
            "clone with a depth of 2 for HEAD^"
        )
    return done.stdout.decode().strip()


def _unpack(commit: str, root: Path, folder: Path) -> None:
    # In a larger repository this gives the project's own folder, with names as seen from there.
    done = _git(root, "archive", "--format=tar", commit)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise pytest.UsageError(f"--changed-since: git cannot read the files of {commit}: {reason}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            wanted = member.name.partition("/")[0] in PARTS and member.name.endswith(".py")
            if member.isfile() and (wanted or member.name in (EVERYTHING, LIMITS)):
                content = archive.extractfile(member)
                assert content is not None
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise pytest.UsageError(f"--changed-since: git does not run here ({error})") from error
