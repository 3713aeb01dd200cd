"""Importing a plug-in file; light, since a cold start imports this too."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path


def load_plugin(path: Path) -> None:
    """Import a plug-in file once."""
    # By its whole path: two plug-ins may have the same file name.
    name = f"optgauge_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
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
