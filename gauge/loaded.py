"""Which files a process has loaded: libraries mapped into it and modules imported. No torch here.

Counted by the kernel's list of mappings and Python's list of modules, after the work is done: what
an installed package holds and nobody touched is not part of it.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MAPS = Path("/proc/self/maps")


def files(maps: Path = _MAPS) -> set[str]:
    """Real paths of the mapped files and of the imported modules' files."""
    found = set()
    for line in maps.read_text().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith("/"):
            found.add(parts[5])
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str):
            found.add(name)
    return {os.path.realpath(name) for name in found if os.path.isfile(name)}


def by_package(paths: Iterable[str], own: Iterable[Path]) -> dict[str, Any]:
    """{"packages": name → bytes, "python": bytes, "system": bytes} of these files.

    packages: by the folder (or file) directly under a folder of installed packages; `torch.libs`
    belongs to `torch`. own: folders that are no part of a runtime (the artifact, the project).
    """
    mine = [os.path.realpath(one) + os.sep for one in own]
    homes = _site_folders()
    python = [os.path.realpath(sysconfig.get_path(one)) + os.sep for one in ("stdlib", "scripts")]
    packages: dict[str, int] = {}
    total = {"python": 0, "system": 0}
    for path in sorted(paths):
        size = os.path.getsize(path)
        home = next((one for one in homes if path.startswith(one)), None)
        if home is not None:
            name = path[len(home) :].split(os.sep)[0].split(".")[0]
            packages[name] = packages.get(name, 0) + size
        elif any(path.startswith(one) for one in mine):
            continue
        elif any(path.startswith(one) for one in python) or "libpython" in path:
            total["python"] += size
        else:
            total["system"] += size
    return {"packages": packages, **total}


def _site_folders() -> list[str]:
    """Where packages are installed, the longest path first."""
    names = {*site.getsitepackages(), site.getusersitepackages(), *sys.path}
    real = {os.path.realpath(one) for one in names if "-packages" in one}
    return sorted((one + os.sep for one in real), key=len, reverse=True)
