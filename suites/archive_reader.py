"""Reading an archive of a cache: every member is checked before anything is taken.

Regular files with expected names only, each held to the size and the hash of its entry's manifest;
a manifest must be strict JSON whose key is the digest of what it says it was made from. Nothing
that is read is run.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from gauge.cache import MANIFEST, digest
from suites.built import KINDS, NAME

HEAD = "optgauge-cache.json"
DURATIONS = "durations.json"
SCHEMA = 1
MOST_TEXT = 64 * 2**20
"""Bytes of a manifest: a few hundred kB as a rule."""

DATA = {".json", ".npz", ".safetensors", ".onnx", ".data", ".xml", ".bin", ".pt", ".pte"}
"""Endings of files that are opened as data (`.pt`: with weights_only); all else may be code."""

_CHUNK = 2**20
_PLACE = re.compile(rf"({'|'.join(KINDS)})/([0-9a-f]{{32}})/(.+)", re.DOTALL)


class ArchiveError(Exception):
    """An archive that is not taken; the message names the file and what is wrong with it."""


def is_data(files: Mapping[str, Any]) -> bool:
    """Whether all of an entry's files are opened as data."""
    return all(Path(name).suffix in DATA for name in files)


@dataclass
class Incoming:
    """An entry that is being read: where it will be, its manifest, and the files seen so far."""

    kind: str
    key: str
    folder: Path | None
    manifest: dict[str, Any]
    seen: set[str] = field(default_factory=set)


class Reader:
    """Checks members as they come and writes the files of entries into a scratch folder."""

    def __init__(self, path: Path, scratch: Path, *, compiled: bool) -> None:
        self.path, self.scratch, self.compiled = path, scratch, compiled
        self.entries: list[Incoming] = []
        self.left_out: list[str] = []
        self.durations: bytes | None = None
        self._expected: int | None = None
        self._open: Incoming | None = None
        self._places: set[str] = set()

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """One member, in the order of the archive."""
        name = member.name
        if not member.isreg():
            self._refuse(name, "is a link, a folder or a device; only regular files are taken")
        content = archive.extractfile(member)
        assert content is not None
        if self._expected is None:
            self._expected = self._head(name, member.size, content)
        elif name == DURATIONS:
            self.durations = self._durations(self._text(name, member.size, content))
        else:
            match = _PLACE.fullmatch(name)
            if match is None or not _safe(name):
                self._refuse(name, "lies outside of what a cache holds")
            kind, place, rest = match.groups()
            if rest == MANIFEST:
                self._begin(kind, place, self._text(name, member.size, content))
            else:
                self._file(f"{kind}/{place}", rest, member.size, content)

    def finish(self) -> None:
        """The end of the archive: everything that was announced has been seen."""
        self._end()
        if self._expected is None:
            raise ArchiveError(f"{self.path}: it is empty")
        found = len(self.entries) + len(self.left_out)
        if found != self._expected:
            raise ArchiveError(
                f"{self.path}: {found} entries where it announces {self._expected}: it was cut off"
            )

    def _head(self, name: str, size: int, content: IO[bytes]) -> int:
        if name != HEAD:
            raise ArchiveError(
                f"{self.path}: not an archive of `python -m suites cache export`: it begins with "
                f"{name!r}, not {HEAD!r}"
            )
        head = self._text(name, size, content)
        schema = head.get("schema")
        if schema != SCHEMA:
            self._refuse(name, f"is of schema {schema!r}; {SCHEMA} is known here")
        entries = head.get("entries")
        if not isinstance(entries, int) or isinstance(entries, bool) or entries < 0:
            self._refuse(name, f"announces {entries!r} entries")
        return entries

    def _begin(self, kind: str, place: str, manifest: dict[str, Any]) -> None:
        self._end()
        where = f"{kind}/{place}"
        if where in self._places:
            self._refuse(where, "is there twice")
        self._places.add(where)
        self._check_manifest(where, place, manifest)
        folder: Path | None = self.scratch / kind / place
        if not self.compiled and not is_data(manifest["files"]):
            inputs = manifest.get("inputs", {})
            words = [str(inputs[key]) for key in ("model", "technique") if key in inputs]
            self.left_out.append("-".join(words) or where)
            folder = None
        else:
            assert folder is not None
            folder.mkdir(parents=True)
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False))
        self._open = Incoming(kind, manifest["key"], folder, manifest)

    def _check_manifest(self, where: str, place: str, manifest: dict[str, Any]) -> None:
        key, files, inputs = (manifest.get(name) for name in ("key", "files", "inputs"))
        if manifest.get("schema") != 1 or not isinstance(manifest.get("meta"), dict):
            self._refuse(where, "has a manifest of another form")
        if not isinstance(key, str) or not NAME.fullmatch(key) or key[:32] != place:
            self._refuse(where, "has a manifest with another key")
        if inputs is not None and (
            not isinstance(inputs, dict)
            or digest(inputs) != key
            or not isinstance(inputs.get("machine"), list)
        ):
            self._refuse(where, "is not what its key says")
        if not isinstance(files, dict) or not all(
            isinstance(one, dict) and isinstance(one.get("bytes"), int) and "sha256" in one
            for one in files.values()
        ):
            self._refuse(where, "has a manifest without sizes and hashes")

    def _file(self, where: str, name: str, size: int, content: IO[bytes]) -> None:
        one = self._open
        if one is None or where != f"{one.kind}/{one.key[:32]}":
            self._refuse(f"{where}/{name}", "comes before its manifest")
        listed = one.manifest["files"].get(name)
        if listed is None or name in one.seen:
            self._refuse(f"{where}/{name}", "is not in its manifest, or there twice")
        if size != listed["bytes"]:
            self._refuse(f"{where}/{name}", f"has {size} bytes; its manifest says otherwise")
        one.seen.add(name)
        if one.folder is None:
            return
        target = one.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        total = hashlib.sha256()
        with target.open("xb") as file:
            while chunk := content.read(_CHUNK):
                total.update(chunk)
                file.write(chunk)
        if total.hexdigest() != listed["sha256"]:
            self._refuse(f"{where}/{name}", "differs from its SHA-256 in the manifest")

    def _end(self) -> None:
        one, self._open = self._open, None
        if one is None:
            return
        lost = sorted(set(one.manifest["files"]) - one.seen)
        if lost:
            self._refuse(f"{one.kind}/{one.key[:32]}", f"lacks {lost[0]}")
        if one.folder is not None:
            self.entries.append(one)

    def _durations(self, found: dict[str, Any]) -> bytes:
        for row in found.values():
            good = isinstance(row, list) and all(
                isinstance(one, int | float) and math.isfinite(one) and one >= 0 for one in row
            )
            if not good:
                self._refuse(DURATIONS, "holds something else than lists of seconds")
        return json.dumps(found).encode()

    def _text(self, name: str, size: int, content: IO[bytes]) -> dict[str, Any]:
        if size > MOST_TEXT:
            self._refuse(name, f"has {size} bytes; more than {MOST_TEXT} are not read")
        try:
            found = json.loads(content.read(), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            self._refuse(name, f"is not strict JSON ({error})")
        if not isinstance(found, dict):
            self._refuse(name, "is no JSON object")
        return found

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise ArchiveError(f"{self.path}: {name!r} {why}; nothing was taken")


def _safe(name: str) -> bool:
    return "\0" not in name and not any(part in ("", ".", "..") for part in name.split("/"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
