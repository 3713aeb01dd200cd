"""What a run has measured so far, kept so that a stopped run can go on.

One JSON line a finished job, appended and flushed as it ends; a line cut off by a kill is dropped
on reading, since its job simply runs again. Each process of a run (the workers of pytest-xdist are
several) writes a file of its own and reads those of all processes of the run before.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gauge.cache import digest


@dataclass(frozen=True)
class Process:
    """One of a run's processes. run: the same word in all of them, and in no other run."""

    name: str
    run: str

    @classmethod
    def of(cls, config: pytest.Config) -> Process:
        """This process: the only one, or a worker of pytest-xdist."""
        worker = getattr(config, "workerinput", None)
        if worker is None:
            return cls("main", secrets.token_hex(8))
        return cls(worker["workerid"], worker["testrunuid"])


class Journal:
    """Results of jobs by what was asked, valid for one identity (code, machine, options)."""

    def __init__(
        self, folder: Path, process: Process, identity: Mapping[str, Any], *, resume: bool
    ) -> None:
        path = folder / f"{process.run}.{process.name}.jsonl"
        self.changed: list[str] = []
        self.results: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        identity = json.loads(json.dumps(identity))
        for earlier in _last_run(folder, process.run):
            if resume:
                self._read(earlier, identity)
        lines = [json.dumps({"identity": identity})]
        lines += [json.dumps({"key": k, "value": v}) for k, v in self.results.items()]
        temporary = path.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, path)
        self._file = path.open("a")

    def _read(self, path: Path, identity: Mapping[str, Any]) -> None:
        first, *rest = path.read_text().splitlines() or [""]
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


def _last_run(folder: Path, run: str) -> list[Path]:
    """The files of the run before this one; those of older runs are removed."""
    runs: dict[str, list[Path]] = {}
    latest: dict[str, float] = {}
    for path in sorted(folder.glob("*.jsonl")):
        name = path.name.partition(".")[0]
        # Another worker of this run may just be removing an old one.
        with contextlib.suppress(FileNotFoundError):
            latest[name] = max(latest.get(name, 0.0), path.stat().st_mtime)
            runs.setdefault(name, []).append(path)
    runs.pop(run, None)
    last = max(runs, key=lambda name: latest[name], default="")
    for name, paths in runs.items():
        for path in paths if name != last else ():
            path.unlink(missing_ok=True)
    return runs.get(last, [])


def _whole(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
