"""The history as a run sees it: what its cells are compared with, and what makes one suspect."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

from reports.history import artifacts, compare, machine, side, steps
from reports.history.compare import Change
from reports.history.index import Index, Row
from reports.history.side import Side
from reports.history.store import Accepted, History
from reports.records import Record, RecordError

WINDOW = 30
"""Runs that a creep is looked for in: a month of nightly ones."""


class Past:
    """Earlier runs of the machine class that a run's record names; nothing is measured here.

    absent: why there is nothing to compare with. broken: why what there is cannot be read.
    """

    def __init__(self, folder: Path, run: Record) -> None:
        steps.check()
        self.history = History.open(folder)
        self.index = Index(self.history)
        self.run = run
        self.machine = machine.class_of(run)
        self.absent: str | None = None
        self.broken: str | None = None
        self.old: Side | None = None
        self._artifacts: dict[str, dict[str, dict[str, str]]] = {}
        try:
            self._accepted = self.history.accepted.get(self.machine)
            if self._accepted is None:
                self.absent = self._why_none()
            elif self._accepted.run not in self.history.names:
                self.absent = f"the accepted run {self._accepted.run} is no longer in the history"
            else:
                self.history.resolve(self._accepted.run)
                self.old = side.of_run(self.index, self._accepted.run)
        except RecordError as error:
            self.broken = str(error)

    def _why_none(self) -> str:
        advice = "`python -m reports accept RUN` makes one the baseline"
        if not self.history.names:
            return f"the history holds no run yet; {advice}"
        others = [one for one in self.history.accepted.values() if one.run in self.history.runs]
        if not others:
            return f"no run of the history is accepted; {advice}"
        nearest = min((self._differing(one) for one in others), key=len)
        return f"accepted runs are of another machine class: {'; '.join(nearest)}; {advice}"

    def _differing(self, accepted: Accepted) -> list[str]:
        there = machine.deciding(self.history.runs[accepted.run])
        return machine.differing(there, machine.deciding(self.run))

    @property
    def software(self) -> list[str]:
        """Versions that differ from the accepted run's."""
        if self.old is None:
            return []
        return machine.differing(machine.software(self.old.run), machine.software(self.run))

    def suspicion(self, row: Row, new: Side, bound: float) -> Suspicion | None:
        """A speed against the accepted run's, and against the window; None where nothing pairs.

        bound: the least ratio to the earlier speedup that is allowed.
        """
        assert self.old is not None
        before = self.old.rows.get(row.key)
        if before is None or not before.value or not row.value:
            return None
        change = compare.pair(before, row, self.old, new)
        assert isinstance(change, Change)
        if not change.change >= bound:
            told = (
                f"speedup {row.value:.3g} where the accepted run {self.old.name} had "
                f"{before.value:.3g}, {change.change:.3f} of it"
            )
            return Suspicion(change, told, self.old.name)
        return self._creep(row, new, bound, change)

    def _creep(self, row: Row, new: Side, bound: float, change: Change) -> Suspicion:
        earlier = self._window.get((row.cell, row.batch), [])
        earlier = [one for one in earlier if _same_weights(self.history.runs[one.run], new, row)]
        assert row.value is not None
        logs = [math.log(one.value) for one in earlier if one.value] + [math.log(row.value)]
        found = steps.creep(logs)
        if found is None or not found.p <= steps.CREEPING or found.ratio >= bound:
            return Suspicion(change, None, None)
        best = earlier[found.best].run
        told = (
            f"the last {found.runs} runs reach {found.ratio:.3f} of the best level of the last "
            f"{len(logs)}, which ended with {best} (p {found.p:.2g})"
        )
        return Suspicion(change, told, best)

    @cached_property
    def _window(self) -> dict[tuple[str, int | None], list[Row]]:
        """Speeds of the last runs of this machine class, by cell and batch size, oldest first."""
        runs = [one for one, run in self.history.runs.items() if self._counts(one, run)]
        found: dict[tuple[str, int | None], list[Row]] = {}
        for row in self.index.speeds(runs[-WINDOW:]):
            found.setdefault((row.cell, row.batch), []).append(row)
        return found

    def _counts(self, name: str, run: Record) -> bool:
        started = [
            one.run
            for one in self.history.acceptances
            if one.machine == self.machine and one.new_level
        ]
        since = name >= started[-1] if started else True
        return since and machine.class_of(run) == self.machine and not run.get("contaminated")

    def artifact(self, run: str, cell: str) -> dict[str, str] | None:
        """SHA-256 and cache key of a cell's artifact in an earlier run."""
        if run not in self._artifacts:
            folder = self.history.folder(run)
            self._artifacts[run] = artifacts.known(self.history.runs[run], folder)
        return self._artifacts[run].get(cell)


class Suspicion:
    """A speed against an earlier one. told: why it is suspect, or None; run: against which run."""

    def __init__(self, change: Change, told: str | None, run: str | None) -> None:
        self.change, self.told, self.run = change, told, run


def _same_weights(run: Record, new: Side, row: Row) -> bool:
    models: dict[str, Any] = run.get("models") or {}
    return (models.get(row.model) or {}).get("sha256") == new.weights(row.model)
