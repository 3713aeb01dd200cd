"""Which run is the baseline of which machine class: a file an acceptance, the latest counts."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports import records
from reports.plain import mapping
from reports.records import RecordError

FOLDER = "accepted"
VERSION = 1


@dataclass(frozen=True)
class Accepted:
    """A run made the baseline of a machine class. new_level: why slower is meant, or None."""

    run: str
    machine: str
    at: str
    new_level: str | None = None


def now() -> str:
    """This moment, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write(folder: Path, one: Accepted) -> None:
    """Add an acceptance; its name sorts by time, and no two meet."""
    content = {"kind": "accepted", "schema": VERSION, **vars(one)}
    name = f"{time.time_ns():020d}-{secrets.token_hex(2)}.json"
    records.replace(folder / name, (json.dumps(content) + "\n").encode())


def read(folder: Path) -> list[Accepted]:
    """Every acceptance, oldest first; RecordError for a file that is damaged or newer."""
    return [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []


def _read(path: Path) -> Accepted:
    fields: dict[str, Any] = {}
    try:
        fields = mapping(json.loads(path.read_text()))
        wrong = None if fields.get("kind") == "accepted" else "not an acceptance"
    except (OSError, ValueError) as error:
        wrong = f"not strict JSON ({error})"
    if isinstance(fields.get("schema"), int) and fields["schema"] > VERSION:
        wrong = f"of schema {fields['schema']}, newer than the {VERSION} known here"
    texts = [fields.get(key) for key in ("run", "machine", "at")]
    if wrong or not all(isinstance(text, str) for text in texts):
        advice = "restore it, or remove it and accept the run again"
        raise RecordError(path, None, wrong or "run, machine or at is missing", advice)
    return Accepted(fields["run"], fields["machine"], fields["at"], fields.get("new_level"))
