"""Importing a plug-in file; light, since a cold start imports this too."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load_plugin(path: Path) -> None:
    """Import a plug-in file once."""
    name = _name(path.resolve())
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: cannot be loaded as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _name(path: Path) -> str:
    """A module's name for a plug-in; two may have the same file name, so its place is in it.

    Artifacts hold it. One of the project is named by its place in there, as cache keys are: what
    one checkout has made opens in another.
    """
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"optgauge_plugin_{hashlib.sha256(str(place).encode()).hexdigest()[:8]}_{path.stem}"
