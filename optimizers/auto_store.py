"""Keeps an automatic search: every trial as it ends, its artifact, and what FP32 costs.

Trials lie in an optuna study on SQLite, like those of an architecture search; artifacts of those
that may still be needed in folders beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizers import artifact, search_trials
from optimizers.auto_goal import Record, key
from optimizers.base import Device, Optimized

TRIES = 3
"""So often a trial is begun: one that ends its process is not begun for ever."""


class Store(search_trials.Store):
    """The trials of one search in a folder that outlives it, if it is stopped.

    Raises RuntimeError for a file of trials that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "search.sqlite3")
        self.folder = folder
        self.known = {key(one["stages"]): number for number, one in enumerate(self.records)}

    @property
    def records(self) -> list[Record]:
        return self._records

    @property
    def costs(self) -> dict[str, dict[str, float]]:
        """What FP32 costs, by field, and at which batch size."""
        return dict(self.facts().get("costs", {}))

    def keep_costs(self, costs: Mapping[str, Mapping[str, float]]) -> None:
        self.note("costs", dict(costs))

    def of(self, stages: Any) -> Record | None:
        """The record of a trial that has ended; None for others."""
        number = self.known.get(key(stages))
        return None if number is None else self.records[number]

    def begin(self, name: str) -> None:
        """Note that a trial begins; raises RuntimeError where it ended its process too often."""
        begun = self.facts().get("begun", {})
        times = begun.get("times", 0) if begun.get("pipeline") == name else 0
        if times >= TRIES:
            raise RuntimeError(f"the process ended {TRIES} times while this was tried")
        self.note("begun", {"pipeline": name, "times": times + 1})

    def end(self, record: Record, values: tuple[float, float] | None) -> None:
        """Keep a trial's record. values: drop and cost, where it has them."""
        from optuna.trial import TrialState, create_trial

        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        self._study.add_trial(
            create_trial(state=state, values=values, user_attrs={"record": record})
        )
        self.known[key(record["stages"])] = len(self.records)
        self.records.append(record)

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
