"""Artifacts on disk: a manifest with hashes around what an `Optimized` saves of itself.

`manifest.json` says which class opens the artifact and what every file must look like. It is this
cache's record: a file it does not list is never opened, whatever it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optimizers.base
from optimizers.base import Device, Optimized

MANIFEST = "manifest.json"
_SCHEMA = 1
_EXACT = 1e-5


class ArtifactError(Exception):
    """An artifact that is damaged, incomplete or unsafe; the message names the file."""


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A new folder to fill: `folder` is there with all that belongs in it, or not at all."""
    unfinished = folder.with_name(folder.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished
    os.replace(unfinished, folder)


def save(optimized: Optimized, directory: Path) -> None:
    """Save `optimized` into `directory` (there and empty) and write its manifest.

    Raises ValueError for an artifact that could not be opened again: a loader class that has no
    importable name, an unexplained tolerance, no files.
    """
    if any(directory.iterdir()):
        raise ValueError(f"{directory} is not empty")
    loader = f"{type(optimized).__module__}:{type(optimized).__qualname__}"
    if _find(loader) is not type(optimized):
        raise ValueError(f"{loader} is no class at the top of a module: nothing could load it")
    _check_terms(optimized)
    optimized.save(directory)
    files = _files(directory)
    if not files:
        raise ValueError(f"{loader}.save wrote no file")
    write_json(
        directory / MANIFEST,
        {
            "schema": _SCHEMA,
            "loader": loader,
            "batch": optimized.batch,
            "tolerance": optimized.tolerance,
            "tolerance_reason": optimized.tolerance_reason,
            "files": {name: _describe(path) for name, path in files.items()},
        },
    )


def load(directory: Path, target: Device) -> Optimized:
    """Open an artifact, in a fresh process, after checking every file against the manifest.

    Raises ArtifactError for a file that is missing, changed or not listed, and for a loader that
    is not a known subclass of `Optimized`.
    """
    check(directory)
    return opened(directory, target)


def check(directory: Path) -> None:
    """Compare every file with the manifest; raises ArtifactError as `load` does."""
    _check_files(directory, _manifest(directory)["files"])


def opened(directory: Path, target: Device) -> Optimized:
    """As `load`, for a process that was started by one which has just called `check`."""
    manifest = _manifest(directory)
    loader = _find(manifest["loader"])
    if not (isinstance(loader, type) and issubclass(loader, Optimized)):
        raise ArtifactError(
            f"{directory / MANIFEST}: loader {manifest['loader']!r} is not a subclass of Optimized "
            "that is known here; one of a plug-in needs --plugin"
        )
    optimized = loader.load(directory, target)
    optimized.batch = manifest["batch"]
    optimized.tolerance = manifest["tolerance"]
    optimized.tolerance_reason = manifest.get("tolerance_reason")
    return optimized


def _manifest(directory: Path) -> dict[str, Any]:
    return read_json(directory / MANIFEST, ("loader", "batch", "tolerance", "files"))


def sizes(directory: Path) -> dict[str, int]:
    """Bytes of every file of the artifact, both JSON files included: all are needed to open it."""
    return {name: path.stat().st_size for name, path in _all_files(directory).items()}


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON; raises ValueError or TypeError for what JSON cannot hold."""
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """An object with at least `keys` and this schema; raises ArtifactError naming the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
        raise ArtifactError(f"{path} is not of schema {_SCHEMA}")
    lost = [key for key in keys if key not in data]
    if lost:
        raise ArtifactError(f"{path} lacks {', '.join(lost)}")
    return data


def _check_terms(optimized: Optimized) -> None:
    tolerance = optimized.tolerance
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance must be finite and not negative, found {tolerance}")
    if tolerance > _EXACT and not optimized.tolerance_reason:
        raise ValueError(f"a tolerance of {tolerance} (above {_EXACT}) needs a tolerance_reason")


def _check_files(directory: Path, listed: Any) -> None:
    if not isinstance(listed, dict):
        raise ArtifactError(f"{directory / MANIFEST}: files is no object")
    present = _files(directory)
    for name in sorted(set(present) - set(listed)):
        raise ArtifactError(f"{directory / name} is not in {MANIFEST}: it is not opened")
    for name, expected in sorted(listed.items()):
        if name not in present:
            raise ArtifactError(f"{directory / name} is missing")
        if _describe(present[name]) != expected:
            raise ArtifactError(f"{directory / name} differs from its SHA-256 in {MANIFEST}")


def _files(directory: Path) -> dict[str, Path]:
    return {name: path for name, path in _all_files(directory).items() if name != MANIFEST}


def _all_files(directory: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            raise ArtifactError(f"{path} is a link; an artifact holds its own files")
        if path.is_file():
            found[path.relative_to(directory).as_posix()] = path
    return found


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _find(loader: Any) -> Any:
    """What `module:Class` names. Imports this package only: other modules may be anybody's code."""
    module_name, _, class_name = str(loader).partition(":")
    if module_name.startswith("optimizers."):
        try:
            importlib.import_module(module_name)
        except ImportError:
            return None
    elif module_name not in sys.modules:
        optimizers.base.names()
    return getattr(sys.modules.get(module_name), class_name, None)
