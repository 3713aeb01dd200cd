"""Which files a piece of work reads, as Python's audit events tell them.

Files that libraries open outside Python (safetensors, onnxruntime, OpenVINO) raise no event.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CODE = (".py", ".pyc", ".pyi", ".so", ".egg-link")
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64", "/opt/intel")


class Opened:
    """Records the files opened for reading while the context is open, but for code and the system.

    Files that this process wrote itself, and folders it made for the moment, are its own.
    allowed: folders that may be read. A hook cannot be taken away: for short-lived processes.
    """

    def __init__(self, allowed: Iterable[Path]) -> None:
        kept = [*map(str, allowed), *_SYSTEM, *_python()]
        self._allowed = [os.path.realpath(one) for one in kept]
        self._own: list[str] = []
        self._found: dict[str, None] = {}
        self._on = False
        sys.addaudithook(self._hear)

    def __enter__(self) -> Opened:
        self._on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "tempfile.mkdtemp":
            self._own.append(os.path.realpath(args[0]))
        elif event == "open" and isinstance(args[0], str | bytes):
            path, _, flags = args
            name = os.fsdecode(path)
            if isinstance(flags, int) and flags & _WRITING:
                self._own.append(os.path.realpath(name))
            elif self._on:
                self._found.setdefault(name)

    @property
    def foreign(self) -> dict[str, int]:
        """Bytes of each file read that is neither code nor allowed, by its whole path."""
        found = {}
        for name in self._found:
            path = os.path.realpath(name)
            if name.endswith(_CODE) or self._inside(path) or not os.path.isfile(path):
                continue
            found[path] = os.path.getsize(path)
        return found

    def _inside(self, path: str) -> bool:
        return any(
            path == one or path.startswith(one.rstrip("/") + "/")
            for one in (*self._allowed, *self._own)
        )


def _python() -> list[str]:
    """Where Python and what is installed for it lie; never a folder of temporary files."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    places |= {*site.getsitepackages(), site.getusersitepackages()}
    # Folders of packages that a .pth file adds, as where one environment lies upon another.
    places |= {one for one in sys.path if one.endswith("-packages")}
    return [one for one in places if one and os.path.realpath(one) not in ("/", _temporary())]


def _temporary() -> str:
    return os.path.realpath(tempfile.gettempdir())
