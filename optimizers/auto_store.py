"""Keeps an automatic search: every trial as it ends, its artifact, and what FP32 costs.

Trials lie in an optuna study on SQLite, like those of an architecture search, artifacts of those
that may still be needed in folders beside it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from optimizers import artifact
from optimizers.auto_goal import Record, key
from optimizers.base import Device, Optimized
from optimizers.search_trials import open_study

TRIES = 3
"""So often a trial is begun: one that ends its process is not begun for ever."""


class Store:
    """The trials of one search in a folder that outlives it, if it is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = open_study(folder / "search.sqlite3")
        self.known: dict[str, int] = {}
        self.records: list[Record] = []
        self.begun: dict[str, int] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if "record" in trial.user_attrs:
                self._take(dict(trial.user_attrs["record"]))
            else:
                name = trial.user_attrs.get("pipeline", "")
                self.begun[name] = self.begun.get(name, 0) + 1

    def _take(self, record: Record) -> None:
        self.known[key(record["stages"])] = len(self.records)
        self.records.append(record)

    @property
    def costs(self) -> dict[str, float]:
        """What a call of FP32 costs, by field."""
        return dict(self.study.user_attrs.get("costs", {}))

    def keep_costs(self, costs: dict[str, float]) -> None:
        self.study.set_user_attr("costs", costs)

    def of(self, stages: Any) -> Record | None:
        """The record of a trial that has ended; None for others."""
        number = self.known.get(key(stages))
        return None if number is None else self.records[number]

    def begin(self, name: str) -> Any:
        """Note that a trial begins; raises RuntimeError where it ended its process too often."""
        if self.begun.get(name, 0) >= TRIES:
            raise RuntimeError(f"the process ended {TRIES} times while this was tried")
        trial = self.study.ask()
        trial.set_user_attr("pipeline", name)
        return trial

    def end(self, trial: Any, record: Record) -> None:
        """Keep a trial's record."""
        from optuna.trial import TrialState

        trial = trial if trial is not None else self.study.ask()
        trial.set_user_attr("record", record)
        self.study.tell(trial, state=TrialState.PRUNED)
        self._take(record)

    def place(self, number: int) -> Path:
        """The folder of a trial's artifact."""
        return self.folder / "trials" / str(number)

    def save(self, optimized: Optimized) -> Path:
        """Save the artifact of the trial that is under way; its folder."""
        path = self.place(len(self.records))
        shutil.rmtree(path, ignore_errors=True)  # of a trial that was cut short
        path.mkdir(parents=True)
        artifact.save(optimized, path)
        return path

    def load(self, number: int, target: Device) -> Optimized:
        """A trial's artifact, opened again."""
        return artifact.load(self.place(number), target)

    def drop(self, number: int) -> None:
        """Forget a trial's artifact, not its record."""
        shutil.rmtree(self.place(number), ignore_errors=True)
