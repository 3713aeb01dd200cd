"""Finding the records of earlier runs: in folders that --report wrote, or in a folder of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from reports import records
from reports.records import RecordError, Records

PATTERNS = (records.FILE, f"*/{records.FILE}", f"runs/*/{records.FILE}", "*.jsonl")


def find(paths: Iterable[Path]) -> list[Path]:
    """The record files meant by some paths: each a file, a run's folder, or a folder of runs.

    RecordError for a path that holds none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        hits = [path] if path.is_file() else []
        for pattern in PATTERNS:
            hits = hits or sorted(path.glob(pattern))
        if not hits:
            what = "no records of runs" if path.exists() else "there is no such folder"
            advice = "name folders that --report wrote, or a history"
            raise RecordError(path, None, what, advice)
        found |= dict.fromkeys(hits)
    return list(found)


def newest(paths: Iterable[Path], most: int) -> tuple[list[Records], list[str]]:
    """The complete runs of some record files, the newest first, and why files were left out.

    At most `most` are read whole; a run that is there twice counts once.
    """
    problems, order = [], []
    for path in paths:
        try:
            with path.open("rb") as file:
                header = json.loads(file.readline())
            order.append((str(header["started"] or header["run"]), str(header["run"]), path))
        except (OSError, ValueError, KeyError, TypeError):
            problems.append(f"{path}: its first line is not that of a run")
    found: dict[str, Records] = {}
    for _, name, path in sorted(order, reverse=True):
        if len(found) == most:
            break
        if name in found:
            continue
        try:
            read = records.read(path)
        except RecordError as error:
            problems.append(str(error))
            continue
        if read.run["complete"]:
            found[name] = read
    return list(found.values()), problems
