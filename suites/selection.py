"""Which of the matrix's cells this run measures: those that changed, and of these its shard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gauge.cache import digest
from reports import records
from suites import changed, shard
from suites.catalog import Catalog
from suites.durations import Durations
from suites.matrix import Cell
from suites.options import Settings

FILE = "split.json"


@dataclass(frozen=True)
class Selection:
    """cells: this run's. shard: what its record says of its part. empty: why no cell is left."""

    cells: list[Cell]
    shard: dict[str, Any] | None = None
    notices: list[str] = field(default_factory=list)
    empty: str | None = None
    parts: list[list[str]] | None = None

    def keep(self, settings: Settings) -> None:
        """Keep the split, so that --resume finds its own part again: durations change meanwhile."""
        if self.parts is not None:
            content = json.dumps({"cells": _name(self.parts), "parts": self.parts})
            records.replace(settings.state / FILE, content.encode())


def select(settings: Settings, catalog: Catalog, cells: Sequence[Cell]) -> Selection:
    """Raises pytest.UsageError for a commit that git does not have and more parts than cells."""
    chosen, notices, empty = list(cells), [], None
    if settings.changed_since is not None:
        found = changed.since(catalog, chosen, settings.changed_since)
        empty = f"--changed-since {settings.changed_since}: no code of {len(cells)} cells changed"
        chosen, notices = found.cells, found.notices
    if settings.shard is None:
        return Selection(chosen, notices=notices, empty=None if chosen else empty)
    if empty is None and settings.shard.of > len(chosen):
        raise pytest.UsageError(
            f"--shard {settings.shard}: {len(chosen)} cells cannot be split into "
            f"{settings.shard.of} parts; ask for fewer parts"
        )
    parts = _parts(settings, chosen, settings.shard.of)
    mine = set(parts[settings.shard.number - 1])
    if chosen and not mine:
        empty = f"--shard {settings.shard}: no cell is left for it, of {len(chosen)} that changed"
    return Selection(
        [cell for cell in chosen if cell.id in mine],
        shard.described(settings.shard, parts),
        notices,
        None if mine else empty,
        parts,
    )


def _parts(settings: Settings, cells: Sequence[Cell], of: int) -> list[list[str]]:
    if settings.resume:
        kept = _kept(settings.state / FILE, _name([[cell.id for cell in cells]]), of)
        if kept is not None:
            return kept
    durations = Durations(settings.cache / "durations.json")
    return shard.split(cells, of, shard.Costs(durations, settings.stage))


def _kept(path: Path, name: str, of: int) -> list[list[str]] | None:
    """The split of the run that is resumed, if it split the same cells into as many parts."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None  # split again; `reports merge` refuses parts of different splits
    if not isinstance(found, dict) or found.get("cells") != name:
        return None
    return found["parts"] if len(found["parts"]) == of else None


def _name(parts: Iterable[Iterable[str]]) -> str:
    return digest(sorted(one for part in parts for one in part))
