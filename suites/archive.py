"""Carrying a cache to another machine in one file: a tar of whole entries with their hashes.

Reading one runs nothing and trusts nothing (suites/archive_reader.py). A hash shows damage, not who
made it: what holds compiled code is taken only when asked for, from an archive that one made
oneself.
"""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import tarfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gauge.cache import MANIFEST, Cache, DamagedEntry, file_digest
from reports import records
from suites.archive_reader import (
    DURATIONS,
    HEAD,
    SCHEMA,
    ArchiveError,
    Incoming,
    Reader,
    is_data,
)
from suites.built import KINDS, Built, manifests


@dataclass
class Carried:
    """What went into an archive or came out of it, by kind."""

    entries: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    sha256: str = ""
    bytes: int = 0


def pack(cache: Cache, path: Path, used_within: float | None = None) -> Carried:
    """Write every whole entry of the cache into `path`, which appears when it is finished.

    used_within: only entries that were made or used in the last so many hours. Damaged entries
    are left out and named. Equal caches give equal bytes; no user's or machine's name is in it.
    """
    carried = Carried()
    since = -math.inf if used_within is None else time.time() - 3600 * used_within
    found: list[tuple[str, str]] = []
    for kind in KINDS:
        for _, data in manifests(cache, kind):
            name = data["key"]
            try:
                if cache.check(kind, name) is not None and cache.used(kind, name) >= since:
                    found.append((kind, name))
            except DamagedEntry as damage:
                carried.left_out.append(str(damage))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with tarfile.open(temporary, "w") as archive:
            head = {"schema": SCHEMA, "entries": len(found)}
            _add(archive, HEAD, json.dumps(head).encode())
            durations = cache.root / DURATIONS
            if durations.is_file():
                _add(archive, DURATIONS, durations.read_bytes())
            for kind, name in found:
                _add_entry(archive, cache.path(kind, name), f"{kind}/{name[:32]}")
                carried.entries[kind] += 1
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    carried.sha256, carried.bytes = file_digest(path), path.stat().st_size
    return carried


def _add_entry(archive: tarfile.TarFile, folder: Path, name: str) -> None:
    manifest = (folder / MANIFEST).read_bytes()
    _add(archive, f"{name}/{MANIFEST}", manifest)
    for file in sorted(json.loads(manifest)["files"]):
        member = _member(f"{name}/{file}", (folder / file).stat().st_size)
        with (folder / file).open("rb") as content:
            archive.addfile(member, content)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_member(name, len(content)), io.BytesIO(content))


def _member(name: str, size: int) -> tarfile.TarInfo:
    # Neither times nor owners: they are of no use elsewhere, and nobody's business.
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def unpack(
    cache: Cache, path: Path, *, compiled: bool = False, sha256: str | None = None
) -> Carried:
    """Take an archive's entries into the cache; those that are there already stay as they are.

    compiled: also entries with files that are not opened as data. sha256: what the archive's own
    must be. Raises ArchiveError, with nothing taken, for anything that `pack` does not write.
    """
    if not path.is_file():
        raise ArchiveError(f"{path}: there is no such file")
    carried = Carried(sha256=file_digest(path), bytes=path.stat().st_size)
    if sha256 is not None and sha256.lower() != carried.sha256:
        raise ArchiveError(f"{path}: its SHA-256 is {carried.sha256}, expected {sha256}")
    with cache.scratch() as scratch:
        reader = Reader(path, scratch, compiled=compiled)
        try:
            with tarfile.open(path, "r:*") as archive:
                for member in archive:
                    reader.take(archive, member)
        except (tarfile.TarError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a full disk, say: the message names the file
            raise ArchiveError(f"{path}: not a whole tar archive ({error})") from error
        reader.finish()
        built = Built(cache)
        for one in reader.entries:
            _place(cache, built, one, carried)
        carried.left_out = reader.left_out
        if reader.durations is not None:
            # As they are, so that all machines that take this archive split shards alike.
            records.replace(cache.root / DURATIONS, reader.durations)
    return carried


def _place(cache: Cache, built: Built, one: Incoming, carried: Carried) -> None:
    assert one.folder is not None
    with cache.lock(one.kind, one.key):
        try:
            there = cache.check(one.kind, one.key) is not None
        except DamagedEntry:
            there = False
        if there:
            carried.there[one.kind] += 1
        else:
            cache.drop(one.kind, one.key)
            os.rename(one.folder, cache.path(one.kind, one.key))
            carried.entries[one.kind] += 1
    # Compiled code is made for one processor: it serves where its whole key agrees, nowhere else.
    if "inputs" in one.manifest and is_data(one.manifest["files"]):
        built.offer(one.kind, one.key, one.manifest["inputs"])
