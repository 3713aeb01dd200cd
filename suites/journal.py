"""What a run has measured so far, kept so that a stopped run can go on.

One JSON line a finished job, appended and flushed as it ends; a line cut off by a kill is dropped
on reading, since its job simply runs again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gauge.cache import digest


class Journal:
    """Results of jobs by what was asked, valid for one identity (code, machine, options)."""

    def __init__(self, path: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.changed: list[str] = []
        self.results: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        identity = json.loads(json.dumps(identity))
        if resume:
            self._read(identity)
        lines = [json.dumps({"identity": identity})]
        lines += [json.dumps({"key": k, "value": v}) for k, v in self.results.items()]
        temporary = path.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, path)
        self._file = path.open("a")

    def _read(self, identity: Mapping[str, Any]) -> None:
        try:
            first, *rest = self.path.read_text().splitlines() or [""]
        except FileNotFoundError:
            return
        earlier = _whole(first).get("identity", {})
        self.changed = sorted(
            key for key in {*identity, *earlier} if identity.get(key) != earlier.get(key)
        )
        if self.changed:
            return
        for line in rest:
            entry = _whole(line)
            if "key" in entry:
                self.results[entry["key"]] = entry["value"]

    def get(self, question: Any) -> Any | None:
        return self.results.get(digest(question))

    def put(self, question: Any, value: Any) -> None:
        key = digest(question)
        self.results[key] = value
        self._file.write(json.dumps({"key": key, "value": value}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _whole(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
