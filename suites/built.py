"""What has been built, here or elsewhere: entries of the cache, and why something is not there."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gauge.cache import MANIFEST, Cache, DamagedEntry, Entry, digest
from gauge.verdict import Status
from reports import records
from suites import keys

STOPS = "stops"
"""Entries without files: a build that refused or failed, and why."""

KINDS = ("weights", "artifacts", STOPS)
ELSEWHERE = "elsewhere"
"""Folder of the names of entries that another machine made, by the digest of what must agree."""

NAME = re.compile("[0-9a-f]{64}")
MOST_DIFFERENCES = 3


class Built:
    """Finds entries by what they depend on, also those that `cache import` brought."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def find(self, kind: str, key: Mapping[str, Any]) -> Entry | None:
        """The entry made here for this key, else an imported one that serves as well, else None.

        Raises DamagedEntry; a damaged imported one is dropped first.
        """
        own = self.cache.open(kind, digest(key))
        if own is not None:
            return own
        name = self._imported(kind, key)
        if name is None:
            return None
        try:
            return self.cache.open(kind, name)
        except DamagedEntry:
            self.cache.drop(kind, name)
            raise

    def _imported(self, kind: str, key: Mapping[str, Any]) -> str | None:
        """The name of the entry from elsewhere that serves for this key."""
        pointer = self._pointer(kind, key)
        name = pointer.read_text() if pointer.is_file() else ""
        return name if NAME.fullmatch(name) else None

    def has(self, kind: str, key: Mapping[str, Any]) -> bool:
        """Whether `find` would give an entry, as far as that shows without checking its files."""
        imported = self._imported(kind, key)
        return any(self.cache.has(kind, name) for name in (digest(key), imported) if name)

    def offer(self, kind: str, name: str, inputs: Mapping[str, Any]) -> None:
        """Let an imported entry serve wherever all but the machine it was made on agrees."""
        records.replace(self._pointer(kind, inputs), name.encode())

    def _pointer(self, kind: str, key: Mapping[str, Any]) -> Path:
        return self.cache.root / ELSEWHERE / kind / digest(keys.portable(key))[:32]

    def note(self, key: Mapping[str, Any], status: Status, reason: str) -> None:
        """Keep why a build refused or failed, for the machine that measures."""
        with self.cache.scratch() as directory:
            meta = {"status": str(status), "reason": reason}
            key = keys.anywhere(key)  # no times were needed to refuse
            self.cache.store(STOPS, digest(key), directory, meta, key)

    def lacking(self, kind: str, key: Mapping[str, Any]) -> tuple[Status, str]:
        """What to say of something that was to be built already and is not there."""
        with contextlib.suppress(DamagedEntry):  # then what it said is not known, and that is told
            stop = self.find(STOPS, keys.anywhere(key))
            if stop is not None:
                return Status(stop.meta["status"]), f"{stop.meta['reason']} (when it was built)"
        if (timed := self._timed_elsewhere(kind, key)) is not None:
            return Status.REFUSED, timed
        what = f"the baseline of {key['model']}"
        if kind == "artifacts":
            what = f"the artifact of {key['model']}-{key['technique']}-{key['target'][0]}"
        reason = (
            f"not built: {what} is not in the cache, and --stage measure builds nothing; "
            "--stage build makes it, `python -m suites cache import` brings it"
        )
        near = self._nearest(kind, key)
        return Status.ERROR, f"{reason}; one that is there differs in: {near}" if near else reason

    def _timed_elsewhere(self, kind: str, key: Mapping[str, Any]) -> str | None:
        """Why an artifact that another processor's times decided does not serve here, or None."""
        if keys.SEARCHED not in key:
            return None
        same = _flat(keys.portable(keys.anywhere(key)))
        for inputs in self._inputs(kind):
            if keys.SEARCHED in inputs and _flat(keys.portable(keys.anywhere(inputs))) == same:
                return (
                    "it was searched by times that another machine took "
                    f"({', '.join(differences(inputs, key))}), which would find something else "
                    "here; build this cell where it is measured, without --stage"
                )
        return None

    def _nearest(self, kind: str, key: Mapping[str, Any]) -> str | None:
        """How the entry for the same cell that differs least differs; None without one."""
        same = ("model", "technique", "target")
        found = [
            differences(inputs, key)
            for inputs in self._inputs(kind)
            if all(inputs.get(name) == key.get(name) for name in same)
        ]
        least = min(filter(None, found), key=len, default=None)
        if not least:
            return None
        more = f" and {len(least) - MOST_DIFFERENCES} more" if len(least) > MOST_DIFFERENCES else ""
        return ", ".join(least[:MOST_DIFFERENCES]) + more

    @functools.cache  # noqa: B019 - one of these lives as long as its run
    def _inputs(self, kind: str) -> list[dict[str, Any]]:
        return [data["inputs"] for _, data in manifests(self.cache, kind) if "inputs" in data]


def manifests(cache: Cache, kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every entry of a kind with its manifest, in order of names; unreadable ones are left out."""
    for path in sorted((cache.root / kind).glob(f"*/{MANIFEST}")):
        with contextlib.suppress(OSError, ValueError):  # opening such an entry names it as damaged
            data = json.loads(path.read_text())
            if isinstance(data, dict) and isinstance(data.get("key"), str):
                yield path.parent, data


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In what two keys differ that must agree, in words."""
    one, other = (_flat(keys.portable(key)) for key in (there, here))
    words = []
    for name in sorted({*one, *other}):
        left, right = one.get(name), other.get(name)
        if left == right:
            continue
        if name in ("source", "technique_source"):
            words.append("its code")
        elif name == "weights":
            words.append("the baseline's weights")
        elif name == "machine" and keys.SEARCHED in here:
            words.append("the processor's instructions")
        elif name == keys.SEARCHED:
            words.append(f"the processor whose times decided ({left} there, {right} here)")
        else:
            words.append(f"{name.removeprefix('versions.')} ({left} there, {right} here)")
    return list(dict.fromkeys(words))


def _flat(key: Mapping[str, Any]) -> dict[str, Any]:
    key = json.loads(json.dumps(key))  # as JSON holds it: of two keys one comes from a file
    flat = {name: value for name, value in key.items() if name != "versions"}
    flat |= {f"versions.{name}": value for name, value in key.get("versions", {}).items()}
    return flat
