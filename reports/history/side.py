"""One of the two runs of a comparison: its record, its rows and its per-sample results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reports import records
from reports.history import artifacts, machine
from reports.history.index import Index, Key, Row
from reports.history.samples import Samples
from reports.plain import mapping
from reports.records import Record, RecordError


@dataclass(frozen=True)
class Side:
    """A run as one side of a comparison."""

    run: Record
    rows: dict[Key, Row]
    samples: Samples

    @property
    def name(self) -> str:
        return self.run["run"]

    @property
    def machine(self) -> str:
        """Its machine class."""
        return machine.class_of(self.run)

    @cached_property
    def cells(self) -> dict[str, bool]:
        """Cell -> whether anything was measured of it."""
        found: dict[str, bool] = {}
        for row in self.rows.values():
            found[row.cell] = found.get(row.cell, False) or row.value is not None
        return found

    def weights(self, model: str) -> str | None:
        """SHA-256 of a model's baseline weights."""
        return mapping(mapping(self.run.get("models")).get(model)).get("sha256")

    def artifact(self, cell: str) -> str | None:
        """SHA-256 of a cell's artifact, by which it is kept."""
        return mapping(self._artifacts.get(cell)).get("sha256")

    @cached_property
    def _artifacts(self) -> dict[str, dict[str, str]]:
        return artifacts.known(self.run, self.samples.folder)


def of_run(index: Index, run: str) -> Side:
    """A run of the history; RecordError when it is damaged."""
    assert index.history is not None
    rows = index.run_rows(run)
    if run in index.damaged:
        raise RecordError(None, None, index.damaged[run], "older runs can still be read")
    header = index.history.runs[run]
    return Side(header, {row.key: row for row in rows}, Samples(index.history.folder(run)))


def of_folder(index: Index, path: Path) -> Side:
    """A report's folder, or the record file in it."""
    path = records.locate(path)
    rows = {row.key: row for row in index.rows(path)}
    return Side(records.read_run(path), rows, Samples(path.parent))


def find(index: Index, name: str) -> Side:
    """What a person names: a report's folder, or a run of the history (see History.resolve)."""
    if Path(name).exists():
        return of_folder(index, Path(name))
    if index.history is None:
        raise RecordError(
            Path(name), None, "there is no such report", "or name a run and --history"
        )
    return of_run(index, index.history.resolve(name))
