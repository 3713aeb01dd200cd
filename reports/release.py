"""release.json: which artifacts a release approved, by their SHA-256, and whether a file is one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

from reports.plain import mapping
from reports.records import Record, RecordError

FILE = "release.json"
VERSION = 1
OWN = "artifact"
"""The folder, in that of an exported cell, of what the artifact needs; the rest only explains."""


class Listed(NamedTuple):
    """One approved file. path: as in release.json, `CELL/artifact/model.onnx`."""

    cell: str
    path: PurePosixPath
    sha256: str

    @property
    def own(self) -> PurePosixPath | None:
        """The path inside the artifact; None for what only explains it."""
        parts = self.path.parts
        return PurePosixPath(*parts[2:]) if parts[1:2] == (OWN,) else None


@dataclass(frozen=True)
class Release:
    """A release.json that was read. run: the line of the run that approved."""

    path: Path
    run: Record
    files: tuple[Listed, ...]


class Finding(NamedTuple):
    """What a file is: cell, where it is approved; else problem, in words."""

    path: Path
    cell: str | None
    problem: str | None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(path: Path) -> Path:
    """The release.json that speaks of a path: in it, beside it, or in the nearest folder above."""
    start = path.absolute()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    raise RecordError(
        path,
        None,
        f"no {FILE} lies in it, beside it or above it",
        "name one with --release (a passing --gate release with --export writes one)",
    )


def read(path: Path) -> Release:
    """Read and check a release.json; RecordError says what is wrong with it."""
    again = "take it again from where the release was made"
    try:
        found = json.loads(path.read_bytes(), object_pairs_hook=_no_double)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise RecordError(path, None, f"it cannot be read ({why})", again) from error
    except (ValueError, RecursionError) as error:
        raise RecordError(path, None, f"not strict JSON ({error})", again) from error
    if not isinstance(found, dict) or found.get("kind") != "release":
        _refuse(path, f'it is no {FILE}: no "kind": "release"', "name another file")
    if found.get("schema") != VERSION:
        what = f"schema {found.get('schema')!r} where this version knows {VERSION}"
        _refuse(path, what, "use the Optgauge that wrote it, or a newer one")
    files = []
    for artifact in _objects(path, found.get("artifacts"), "artifacts"):
        named = artifact.get("files")
        if not isinstance(artifact.get("cell"), str) or not isinstance(named, dict):
            _refuse(path, "an artifact without cell or files", again)
        for name, facts in named.items():
            sha256 = mapping(facts).get("sha256")
            if not (isinstance(sha256, str) and len(sha256) == 64):
                _refuse(path, f"{name}: no SHA-256", again)
            files.append(Listed(artifact["cell"], PurePosixPath(name), sha256))
    return Release(path, found, tuple(files))


def check(release: Release, path: Path) -> list[Finding]:
    """What each file at a path is: the file itself, or all that lie in a folder.

    A file is approved when its content is listed, whatever it is called. In a folder each file
    must lie as it was listed, and belong to an artifact that is there as a whole.
    """
    if not path.is_dir():
        return [_alone(release, path)]
    paths, findings = [], []
    for folder, names, files in os.walk(path):
        here = Path(folder)
        findings += [_link(here / name) for name in names if (here / name).is_symlink()]
        for name in files:
            one = here / name
            if one.is_symlink() or not one.is_file():
                findings.append(_link(one))
            elif one.absolute() != release.path.absolute():
                paths.append(one)
    findings += _together(release, {one: digest(one) for one in sorted(paths)})
    if not findings:
        findings = [Finding(path, None, "an empty folder")]
    return sorted(findings)


def _link(path: Path) -> Finding:
    return Finding(path, None, "no plain file: where it leads may change")


def _alone(release: Release, path: Path) -> Finding:
    sha256 = digest(path)
    found = next((one for one in release.files if one.sha256 == sha256), None)
    return Finding(path, found.cell, None) if found else _foreign(release, path, sha256)


def _foreign(release: Release, path: Path, sha256: str) -> Finding:
    for one in release.files:
        if path.absolute() == (release.path.parent / one.path).absolute():
            problem = f"changed: SHA-256 {sha256[:12]}…, approved was {one.sha256[:12]}…"
            return Finding(path, None, problem)
    return Finding(path, None, f"not listed (SHA-256 {sha256[:12]}…)")


def _together(release: Release, hashes: Mapping[Path, str]) -> list[Finding]:
    """Files of a folder: of which artifacts they are, and whether those are whole."""
    by_hash: dict[str, list[Listed]] = {}
    for one in release.files:
        by_hash.setdefault(one.sha256, []).append(one)
    fits = {
        path: [one for one in by_hash.get(sha256, []) if _ends_with(path, one.own or one.path)]
        for path, sha256 in hashes.items()
    }
    present = {one for found in fits.values() for one in found}
    lacking: dict[str, list[PurePosixPath]] = {}
    for one in release.files:
        if one.own is not None and one not in present:
            lacking.setdefault(one.cell, []).append(one.own)
    findings = []
    for path, found in fits.items():
        whole = [one.cell for one in found if one.cell not in lacking]
        if whole:
            findings.append(Finding(path, whole[0], None))
        elif found:
            missing = ", ".join(str(own) for own in lacking[found[0].cell][:3])
            findings.append(Finding(path, None, f"of {found[0].cell}, which lacks {missing}"))
        elif others := by_hash.get(hashes[path]):
            findings.append(Finding(path, None, f"out of its place: it is {others[0].path}"))
        else:
            findings.append(_foreign(release, path, hashes[path]))
    return findings


def _ends_with(path: Path, end: PurePosixPath) -> bool:
    parts = path.absolute().parts
    return parts[len(parts) - len(end.parts) :] == end.parts


def _objects(path: Path, value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        _refuse(path, f"{name}: no array of objects", "take it again from the release")
    return value


def _no_double(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _refuse(path: Path, found: str, advice: str) -> NoReturn:
    raise RecordError(path, None, found, advice)
