"""The regression gate: a cell against the accepted run, and both artifacts in turns if suspect."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauge import judge as judges
from gauge.cache import DamagedEntry, file_digest
from gauge.policy import Limit
from gauge.verdict import Status, Verdict
from reports.history import artifacts, compare
from reports.history.compare import BETTER, WORSE, Change
from reports.history.index import Row
from reports.history.samples import Samples
from reports.history.side import Side
from reports.records import RecordError
from suites import recording
from suites.engine import Stopped
from suites.matrix import Cell
from suites.past import Past, Suspicion
from suites.rounds import Rounds

if TYPE_CHECKING:
    from suites.run import Run


COMPARED = ("accuracy", "size", "speed")
CODE = "the code of its model, technique or target"
"""Told by the key of an artifact: who opens and calls it may be slower, whatever is in it."""


@dataclass
class Regressions:
    """The regression gates of a run's process: suspects of all cells are confirmed in turns."""

    run: Run
    past: Past
    suspects: dict[Cell, list[tuple[Row, Suspicion]]] = field(default_factory=dict)
    problems: dict[Cell, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rounds = Rounds(self.run.engine, self.run.settings.effort)

    @classmethod
    def of(cls, run: Run) -> Regressions:
        """Those of a run that has begun; RecordError for a history that cannot be used."""
        assert run.settings.history is not None
        targets = {"targets": {name: run.engine.probe(name) for name in run.capabilities}}
        return cls(
            run, Past(run.settings.history, recording.circumstances(run.settings, [targets]))
        )

    def judge(self, cell: Cell) -> Verdict:
        """The verdict of a cell; Stopped where the cell is refused or failed."""
        limit = self.run.limit(cell, "regression", None)
        try:
            measured = self._measured(cell)
        except RecordError as error:
            raise Stopped(Status.ERROR, f"history: {error}") from error
        return judges.judge_regression(measured, limit, self.run.rounds.looks)

    def _measured(self, cell: Cell) -> dict[str, Any]:
        past = self.past
        self.run.engine.examined(cell)
        if past.broken:
            raise Stopped(Status.ERROR, f"history: {past.broken}")
        if past.old is None:
            return {"absent": past.absent}
        new = self._side(cell)
        found: dict[str, Any] = {"run": past.old.name, "notes": []}
        if cell.id not in past.old.cells:
            return {**found, "new": True}
        changed = compare.changed_model(past.old, new, cell.model)
        if changed:
            return {**found, "absent": changed}
        # In whatever order tests come: what the cell is compared by is asked first.
        for one, gate, batch in self.run.selected.values():
            if one == cell and gate in COMPARED:
                self.run.ask(cell, gate, batch)
        rows = self._rows(cell)
        self._consider()
        pairs = self.suspects.get(cell, [])
        found["speed"] = [self._speed(cell, row, one) for row, one in pairs]
        for row in rows:
            before = past.old.rows.get(row.key)
            if before is not None and row.gate in ("accuracy", "size"):
                self._quality(found, compare.pair(before, row, past.old, new), row)
        return found

    def _quality(self, found: dict[str, Any], change: Change | str | None, row: Row) -> None:
        if isinstance(change, str):
            found["notes"].append(f"{row.gate}: {change}")
        elif change is not None and row.gate == "size":
            found["size"] = change.change
        elif change is not None:
            text = (
                f"score {change.new:.4f} where the accepted run {found['run']} had "
                f"{change.old:.4f}: {change.text}"
            )
            numbers = {"drop": change.change, "low": change.low, "high": change.high}
            found["accuracy"] = {"worse": change.word == WORSE, "text": text, **numbers}

    def _side(self, cell: Cell) -> Side:
        """This run so far, as one side of a comparison."""
        sha256 = self.run.engine.baseline(cell.model, cell.target).weights.meta["sha256"]
        models = {cell.model: {"sha256": sha256}}
        header = {**self.past.run, "run": self.run.run_id, "aa": self._controls, "models": models}
        return Side(header, {}, Samples(self.run.settings.report))

    @cached_property
    def _controls(self) -> list[dict[str, Any]]:
        """The A/A cells as far as they are when the first cell is compared."""
        return recording.control_results(recording.controls(self.run))[0]

    def _rows(self, cell: Cell) -> list[Row]:
        names = (self.run.run_id, cell.model, cell.technique, cell.target)
        return [
            Row(
                *names, gate, batch, verdict.status.value, verdict.value, verdict.low, verdict.high,
                list(verdict.evidence["processes"]) if gate == "speed" and verdict.value else None,
                None, None, None,
            )
            for (gate, batch), verdict in self.run.answered(cell).items()
        ]  # fmt: skip

    # Confirming

    def _consider(self) -> None:
        """Look at every cell that has been timed by now, and line suspects up for confirming."""
        for cell in self.run.timed_cells():
            limit = self.run.limit(cell, "regression", None)
            if cell not in self.suspects and isinstance(limit, Limit):
                self.suspects[cell] = self._suspicions(cell, limit.bound)
                self._line_up(cell, limit.bound)

    def _suspicions(self, cell: Cell, bound: float) -> list[tuple[Row, Suspicion]]:
        new = self._side(cell)
        assert self.past.old is not None
        if compare.changed_model(self.past.old, new, cell.model):
            return []
        rows = [row for row in self._rows(cell) if row.gate == "speed"]
        # What is only reported is held to nothing, here as well.
        gated = [row for row in rows if row.status != Status.NO_EXPECTATION]
        found = [(row, self.past.suspicion(row, new, bound)) for row in gated]
        return [(row, one) for row, one in found if one is not None]

    def _line_up(self, cell: Cell, bound: float) -> None:
        doubted = [
            (row, one)
            for row, one in self.suspects[cell]
            if one.told and not self._same_artifact(cell, one)
        ]
        if not doubted:
            return
        earlier = self._kept(cell, doubted[0][1])
        if isinstance(earlier, str):
            self.problems[cell] = earlier
            return
        tracks = {
            row.batch: self.rounds.track(row.batch, bound, reported=False)
            for row, _ in doubted
            if row.batch is not None
        }
        self.rounds.add(cell, tracks, earlier=earlier)

    def _same_artifact(self, cell: Cell, one: Suspicion) -> bool:
        assert one.run is not None
        before = self.past.artifact(one.run, cell.id)
        now = self.run.engine.artifact(cell).path
        return before is not None and _whole(now, before["sha256"])

    def _software(self, cell: Cell, one: Suspicion) -> list[str]:
        """What may have made the cell slower beside its artifact: versions, and its own code."""
        assert one.run is not None
        before = self.past.artifact(one.run, cell.id)
        same = before is None or before["key"] == self.run.engine.artifact_keys.get(cell)
        return [*self.past.software, *([] if same else [CODE])]

    def _kept(self, cell: Cell, one: Suspicion) -> Path | str:
        """Where the earlier artifact is kept, or a sentence saying why it is not."""
        assert one.run is not None
        known = self.past.artifact(one.run, cell.id)
        if known is None:
            return f"the run {one.run} does not say which artifact it measured"
        kept = artifacts.place(self.past.history, known["sha256"])
        if kept.is_dir():
            return kept if _whole(kept, known["sha256"]) else f"{kept} is another artifact"
        try:
            entry = self.run.engine.cache.open("artifacts", known["key"])
        except DamagedEntry as damage:
            return f"the artifact of {one.run} is damaged: {damage}"
        if entry is None:
            short = known["sha256"][:12]
            return f"the artifact of {one.run} ({short}) is neither in this cache nor the history"
        if not _whole(entry.path, known["sha256"]):
            return f"the artifact in this cache is not the one that {one.run} measured"
        return entry.path

    def _speed(self, cell: Cell, row: Row, one: Suspicion) -> dict[str, Any]:
        change = one.change
        found: dict[str, Any] = {
            "batch": row.batch,
            "earlier": change.old,
            "now": change.new,
            "ratio": change.change,
            "low": change.low,
            "high": change.high,
            "worse": change.word == WORSE,
            "gain": change.word == BETTER,
            "suspected": one.told,
        }
        if one.told is None:
            return found
        found |= {"against": one.run, "software": self._software(cell, one)}
        if self._same_artifact(cell, one):
            return {**found, "same_artifact": True}
        if cell in self.problems:
            return {**found, "confirmation": {"problem": self.problems[cell]}}
        assert row.batch is not None
        track = self.rounds.until(cell, row.batch)
        if track.stopped or track.invalid:
            return {**found, "confirmation": {"problem": str(track.stopped or track.invalid)}}
        first, again = track.deciding()
        ratios = {
            "first": [process["log_ratio"] for process in first],
            "confirming": [process["log_ratio"] for process in again] if again else None,
        }
        return {**found, "confirmation": ratios}


def _whole(folder: Path, sha256: str) -> bool:
    """Whether a folder holds this artifact; its other files are checked when it is opened."""
    manifest = folder / artifacts.INSIDE / artifacts.MANIFEST
    return manifest.is_file() and file_digest(manifest) == sha256
