"""What the proof has measured so far: one JSONL file a piece, resumed by settings alone.

The first line holds the piece's settings, each sitting adds a line with its date, machine and
versions, and every line after that is one thing that was measured. Lines are never edited.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gauge import machine

Line = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
THREADS = machine.Threads(1, "the proof times its small models with one thread")


class Store:
    """The lines of one piece; `lines` are the measured ones, `sittings` tell when and where.

    Raises SystemExit where the file holds other settings: figures of different settings are never
    pooled.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(settings))
        self.sittings: list[Line] = []
        self.lines: list[Line] = []
        self._begun = False
        for number, line in enumerate(self._read()):
            kind = line.pop("kind")
            if number == 0:
                self._check(line["settings"])
            elif kind == "sitting":
                self.sittings.append(line)
            else:
                self.lines.append(line)

    def _read(self) -> list[Line]:
        """All whole lines; one that a kill cut off is taken out of the file."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            temporary.write_text(whole, encoding="utf-8")
            os.replace(temporary, self.path)
        return [json.loads(line) for line in whole.splitlines()]

    def _check(self, found: Mapping[str, Any]) -> None:
        if found == self.settings:
            return
        differ = sorted(
            key
            for key in found.keys() | self.settings.keys()
            if found.get(key) != self.settings.get(key)
        )
        told = ", ".join(
            f"{key} was {found.get(key)!r} and is {self.settings.get(key)!r}" for key in differ
        )
        raise SystemExit(
            f"{self.path} was measured with other settings ({told}): move it away, or name another "
            "folder with --store"
        )

    def add(self, line: Mapping[str, Any]) -> None:
        """Append what was measured; the first one of a sitting also tells of the sitting."""
        if not self._begun:
            self._begun = True
            if not self.path.exists() or not self.path.stat().st_size:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._append({"kind": "settings", "settings": self.settings})
            self.sittings.append(sitting(len(self.sittings)))
            self._append({"kind": "sitting", **self.sittings[-1]})
        kept = {"sitting": len(self.sittings) - 1, **line}
        self._append({"kind": "line", **kept})
        self.lines.append(json.loads(json.dumps(kept)))

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")


def sitting(number: int) -> Line:
    """When, where and with what; no host, user or path is in it."""
    kept = ("torch", "numpy", "scipy", "pytest", "pytest-benchmark")
    versions = machine.versions()
    return {
        "sitting": number,
        "started": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": {**machine.fingerprint(THREADS), "cpus": len(os.sched_getaffinity(0))},
        "versions": {name: versions[name] for name in kept},
        **_commit(),
    }


def _commit() -> Line:
    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain", "--untracked-files=no", "--", ":!docs")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}
