"""Which artifacts the deployment suites ask: FP32 and the best certified one of each class.

Certified is what passed evidence, reload and accuracy in an earlier run of the gates, by the
model's general limit; the best is the fastest (reports.picks). A run remembers this in the cache,
because --report holds the last run alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reports import records as record_files
from reports.cells import Cell as Recorded
from reports.picks import obstacle
from suites import matrix
from suites.catalog import Catalog
from suites.matrix import Cell
from suites.options import Settings

FILE = "certified.json"
BASELINE = "none"
NEEDED = {"evidence", "reload", "accuracy", "speed"}
"""A run that asked fewer gates of a cell says neither that it is certified nor that it is not."""


class Certified:
    """Speedups of the certified cells, by cell, in a small JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, dict[str, Any]] = {}
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError):
            return  # a first run, or a damaged file: certified again
        if isinstance(data, dict):
            self.seen = {key: one for key, one in data.items() if _usable(one)}

    def add(self, verdicts: Iterable[Mapping[str, Any]]) -> None:
        """Take a run's verdicts: a cell whose gates were all asked is certified, or no longer."""
        cells: dict[tuple[str, str, str], Recorded] = {}
        for one in verdicts:
            key = (one["cell"]["model"], one["cell"]["technique"], one["cell"]["target"])
            cells.setdefault(key, Recorded(*key)).verdicts.append(dict(one))
        for cell in cells.values():
            if not {one["gate"] for one in cell.verdicts} >= NEEDED:
                continue
            name = "-".join(cell.key)
            self.seen.pop(name, None)
            if obstacle(cell) is None:
                self.seen[name] = {
                    "model": cell.model,
                    "technique": cell.technique,
                    "target": cell.target,
                    "class": cell.class_,
                    "speed": cell.value("speed"),
                }

    def save(self) -> None:
        record_files.replace(self.path, json.dumps(self.seen).encode())

    def best(self, model: str, target: str) -> list[str]:
        """The fastest certified technique of each class, FP32 itself left out."""
        found: dict[str, dict[str, Any]] = {}
        for one in self.seen.values():
            if (one["model"], one["target"]) != (model, target) or one["technique"] == BASELINE:
                continue
            if one["class"] not in found or one["speed"] > found[one["class"]]["speed"]:
                found[one["class"]] = one
        return [one["technique"] for _, one in sorted(found.items())]


def _usable(one: Any) -> bool:
    """Whether an entry of the file is what `add` writes."""
    names = ("model", "technique", "target", "class")
    if not isinstance(one, dict) or not all(isinstance(one.get(key), str) for key in names):
        return False
    speed = one.get("speed")
    return isinstance(speed, int | float) and math.isfinite(speed)


def cells(catalog: Catalog, settings: Settings) -> tuple[list[Cell], list[str]]:
    """The cells that a deployment suite asks, FP32 first for each model, and what to tell of them.

    With --technique those named, and FP32, which they are told against. A remembered technique
    that is gone (a plug-in left out, a file removed) is told and left out.
    """
    found: list[Cell] = []
    notices: list[str] = []

    def asked(techniques: Iterable[str]) -> list[Cell]:
        return matrix.cells(
            catalog,
            matrix=settings.matrix,
            targets=settings.targets,
            models=settings.models,
            techniques=techniques,
        )

    known = Certified(settings.cache / FILE)
    wanted = asked(settings.techniques) if settings.techniques else []
    for first in asked([BASELINE]):
        found.append(first)
        same = (first.model, first.target)
        if settings.techniques:
            found += [one for one in wanted if (one.model, one.target) == same and one != first]
            continue
        best = known.best(*same)
        if not best:
            notices.append(
                f"no certified artifact of {first.model} on {first.target} is known, so FP32 is "
                f"asked alone: run pytest suites/ --model {first.model} --target {first.target} "
                "first, or name one with --technique"
            )
        for technique in best:
            try:
                more = matrix.cells(
                    catalog,
                    matrix="full",
                    targets=[first.target],
                    models=[first.model],
                    techniques=[technique],
                )
            except pytest.UsageError:
                notices.append(
                    f"{first.model}-{technique}-{first.target} was certified, but {technique} is "
                    "not there any more: left out"
                )
                continue
            found += more
    return found, notices
