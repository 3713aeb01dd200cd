"""A cache of directories, addressed by what went into them.

An entry is a directory with a manifest of its files' sizes and SHA-256. It appears whole (written
aside, then renamed) and is checked when it is opened: a damaged entry is named and built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

MANIFEST = "entry.json"


def digest(value: Any) -> str:
    """SHA-256 of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Entry:
    """A whole entry: its directory and the plain data stored with it."""

    path: Path
    meta: Mapping[str, Any]


class DamagedEntry(Exception):
    """An entry whose files are not what its manifest says; the message names the file."""


class Cache:
    """Entries under one folder, `kind/key`, shared by processes through file locks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:32]

    def has(self, kind: str, key: str) -> bool:
        """Whether an entry seems to be there; only `open` checks it."""
        return (self.path(kind, key) / MANIFEST).is_file()

    def open(self, kind: str, key: str) -> Entry | None:
        """The entry, checked and noted as used now; None when there is none.

        Raises DamagedEntry when a file is missing, foreign, or differs from the manifest.
        """
        entry = self.check(kind, key)
        if entry is not None:
            with contextlib.suppress(OSError):  # of a cache that cannot be written, no age is kept
                os.utime(entry.path / MANIFEST)
        return entry

    def used(self, kind: str, key: str) -> float:
        """When an entry was last made or opened, in seconds since the epoch."""
        return (self.path(kind, key) / MANIFEST).stat().st_mtime

    def check(self, kind: str, key: str) -> Entry | None:
        """What `open` gives, without noting it as used."""
        path = self.path(kind, key)
        manifest = path / MANIFEST
        if not path.exists():
            return None
        try:
            data = json.loads(manifest.read_text())
            files, meta = data["files"], data["meta"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedEntry(f"{manifest}: not a whole manifest ({error})") from error
        if data.get("key") != key:
            raise DamagedEntry(f"{manifest}: belongs to another key")
        present = _files(path)
        for name in sorted(set(files) | set(present)):
            if name not in present:
                raise DamagedEntry(f"{path / name}: missing")
            if name not in files:
                raise DamagedEntry(f"{path / name}: not in the manifest")
            if file_digest(path / name) != files[name]["sha256"]:
                raise DamagedEntry(f"{path / name}: differs from its SHA-256 in the manifest")
        return Entry(path, meta)

    def drop(self, kind: str, key: str) -> None:
        """Remove an entry, if there is one."""
        shutil.rmtree(self.path(kind, key), ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Hold this entry against other processes that would build it too."""
        path = self.path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            yield

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the cache's file system, removed afterwards."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=".building-", dir=self.root))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def store(
        self,
        kind: str,
        key: str,
        directory: Path,
        meta: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Turn a scratch folder's contents into an entry.

        inputs: what its key is the digest of, kept so that another machine can tell what it is.
        """
        files = {
            name: {"bytes": (directory / name).stat().st_size, "sha256": hash_}
            for name in _files(directory)
            for hash_ in [file_digest(directory / name)]
        }
        manifest = {"schema": 1, "key": key, "files": files, "meta": dict(meta)}
        if inputs is not None:
            manifest["inputs"] = dict(inputs)
        text = json.dumps(manifest, indent=1, allow_nan=False)
        with (directory / MANIFEST).open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.drop(kind, key)
        path = self.path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.rename(directory, path)
        return Entry(path, meta)


def _files(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and path.name != MANIFEST
    )
