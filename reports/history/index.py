"""Verdicts of runs as rows, read with DuckDB: a run's JSON once, then its columns from `index/`.

The index is derived: a Parquet file a run, named by the run and the bytes of its records, written
aside and renamed. What is missing is made when it is asked for; deleting all of it loses nothing.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from reports import records
from reports.history.store import ASIDE, History
from reports.records import RecordError

MEMORY = "600MB"
"""What DuckDB may hold; the rest of a gigabyte is for Python."""

Key = tuple[str, str, str, str, "int | None"]


class Row(NamedTuple):
    """One verdict of one run. processes: log-ratios of a speed gate; seconds: medians of a call."""

    run: str
    model: str
    technique: str
    target: str
    gate: str
    batch: int | None
    status: str
    value: float | None
    low: float | None
    high: float | None
    processes: list[float] | None
    baseline_s: float | None
    candidate_s: float | None
    reason: str | None

    @property
    def key(self) -> Key:
        return self.model, self.technique, self.target, self.gate, self.batch

    @property
    def cell(self) -> str:
        return f"{self.model}-{self.technique}-{self.target}"


_ROWS = """
SELECT run, cell.model AS model, cell.technique AS technique, cell.target AS target, gate, batch,
    status, value, low, high,
    CASE WHEN gate = 'speed' THEN CAST(evidence -> '$.processes' AS DOUBLE[]) END AS processes,
    baseline.median_s AS baseline_s, candidate.median_s AS candidate_s, reason
FROM read_json($path, format = 'newline_delimited', maximum_object_size = 268435456, columns = {
    kind: 'VARCHAR', run: 'VARCHAR', gate: 'VARCHAR', batch: 'INTEGER', status: 'VARCHAR',
    cell: 'STRUCT(model VARCHAR, technique VARCHAR, target VARCHAR)',
    value: 'DOUBLE', low: 'DOUBLE', high: 'DOUBLE', reason: 'VARCHAR', evidence: 'JSON',
    baseline: 'STRUCT(median_s DOUBLE)', candidate: 'STRUCT(median_s DOUBLE)'})
WHERE kind = 'verdict'
ORDER BY model, technique, target, gate, batch
"""
_SMALL = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048"


class Index:
    """Rows of the runs of a history (None: of record files only); one connection in memory."""

    def __init__(self, history: History | None) -> None:
        self.history = history
        self.damaged: dict[str, str] = {}
        self._database = _connect()

    def rows(self, path: Path) -> list[Row]:
        """The verdicts of one record file; RecordError where it is not whole."""
        header = records.read_run(path)
        self._whole(path, header)
        return [Row(*row) for row in self._ask(path, _ROWS).fetchall()]

    def run_rows(self, run: str) -> list[Row]:
        """The verdicts of one run of the history."""
        return self._select([run], "true", {})

    def series(
        self, model: str, technique: str, runs: Iterable[str], gate: str, batch: int | None
    ) -> list[Row]:
        """A technique's verdicts of one gate in these runs, by run and target."""
        where = "model = $model AND technique = $technique AND gate = $gate"
        where += " AND batch IS NOT DISTINCT FROM $batch"
        asked = {"model": model, "technique": technique, "gate": gate, "batch": batch}
        return self._select(list(runs), where, asked)

    def speeds(self, runs: Iterable[str]) -> list[Row]:
        """Every speed that these runs measured."""
        return self._select(list(runs), "gate = 'speed' AND value > 0", {})

    def counts(self, runs: Iterable[str]) -> dict[str, dict[str, int]]:
        """Run -> status -> how many verdicts."""
        paths = self._files(runs)
        found: dict[str, dict[str, int]] = {}
        if paths:
            query = (
                "SELECT run, status, count(*) FROM read_parquet($paths) GROUP BY ALL ORDER BY ALL"
            )
            for run, status, number in self._database.execute(query, {"paths": paths}).fetchall():
                found.setdefault(run, {})[status] = number
        return found

    def _select(self, runs: list[str], where: str, asked: dict[str, Any]) -> list[Row]:
        paths = self._files(runs)
        if not paths:
            return []
        query = f"SELECT * FROM read_parquet($paths) WHERE {where} ORDER BY run, target"
        found = self._database.execute(query, {"paths": paths, **asked}).fetchall()
        return [Row(*row) for row in found]

    def _files(self, runs: Iterable[str]) -> list[str]:
        """The index's files of these runs, made where missing; damaged runs are left out."""
        assert self.history is not None
        folder = self._folder
        present = set(os.listdir(folder))
        found = []
        for run in runs:
            try:
                source = self.history.folder(run) / records.FILE
                name = f"{run}.{source.stat().st_size}.parquet"
                if name not in present:
                    self._make(source, folder / name)
                found.append(str(folder / name))
            except (RecordError, OSError) as error:
                self.damaged[run] = str(error)
        return found

    @cached_property
    def _folder(self) -> Path:
        """Where the index lies: in the history, or elsewhere for a while if that is read-only."""
        assert self.history is not None
        folder = self.history.path / "index"
        try:
            folder.mkdir(exist_ok=True)
            probe = folder / f"{ASIDE}{secrets.token_hex(6)}"
            probe.touch()
            probe.unlink()
        except OSError:
            self._temporary = tempfile.TemporaryDirectory(prefix="optgauge-index-")
            return Path(self._temporary.name)
        return folder

    def _make(self, source: Path, path: Path) -> None:
        self._whole(source, records.read_run(source))
        aside = path.with_name(f"{ASIDE}{secrets.token_hex(6)}")
        try:
            self._ask(source, f"COPY ({_ROWS}) TO '{_quoted(aside)}' ({_SMALL})")
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    def _whole(self, path: Path, header: records.Record) -> None:
        """RecordError where the file has other verdicts than the run's line states."""
        path = records.locate(path)
        query = (
            "SELECT count(*), count(*) FILTER (WHERE kind = 'verdict' AND gate IS NOT NULL "
            "AND status IS NOT NULL AND cell.model IS NOT NULL AND run = $run), max(schema) "
            "FROM read_json($path, format = 'newline_delimited', maximum_object_size = 268435456, "
            "columns = {kind: 'VARCHAR', run: 'VARCHAR', gate: 'VARCHAR', status: 'VARCHAR', "
            "cell: 'STRUCT(model VARCHAR)', schema: 'INTEGER'})"
        )
        lines, verdicts, newest = self._ask(path, query, run=header["run"]).fetchone()
        if newest > records.schema.VERSION:
            what = f"records of schema {newest}, newer than the {records.schema.VERSION} known here"
            raise RecordError(path, None, what, "read them with the Optgauge that wrote them")
        stated = header.get("verdicts", lines - 1)
        if not lines - 1 == verdicts == stated:
            what = f"{verdicts} verdicts of this run in {lines} lines, where {stated} are stated"
            raise RecordError(path, None, what, "restore it from a backup, or from git")

    def _ask(self, path: Path, query: str, **asked: Any) -> Any:
        import duckdb

        path = records.locate(path)
        try:
            return self._database.execute(query, {"path": str(path), **asked})
        except duckdb.Error as error:
            first = str(error).partition("\n")[0].replace(str(path), path.name)
            advice = "restore it from a backup, or from git"
            raise RecordError(
                path, None, f"DuckDB cannot read it ({first[:200]})", advice
            ) from None


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _connect() -> Any:
    try:
        import duckdb
    except ImportError:
        what = "a history is read with DuckDB, which is not installed"
        raise RecordError(None, None, what, "pip install 'optgauge[history]'") from None
    # What it needs is built in: nothing is looked for in a home folder or a network.
    settings: dict[str, Any] = {
        "memory_limit": MEMORY,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "temp_directory": "",
    }
    return duckdb.connect(":memory:", config=settings)
