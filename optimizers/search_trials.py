"""Proposes the candidates of a search through optuna, and keeps every trial as it is done.

The study lies in an SQLite file: a search that was stopped goes on after its last whole trial, and
with the candidates that it would have had anyway. A seed decides the list of candidates: what the
sampler sees of one is its score and its products (and the share that it is over a budget of size),
which do not depend on the clock. Latency, which does, decides afterwards which is returned.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optimizers.search_evaluator import Budget, Record
from optimizers.search_space import Choice, Space

EVOLUTION, CHANCE = "evolution", "chance"
GENERATIONS = 4
MOST_REPEATS = 10
"""Proposals in a row that were tried before; then an untried candidate is drawn instead."""

Evaluate = Callable[[Choice], Record]


def open_study(storage: Path) -> Any:
    """The study in an SQLite file, made where there is none; trials that were cut short are lost.

    Objectives: the share of wrong answers, and multiply-accumulates.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="search",
        storage=_quick(optuna.storages.RDBStorage(f"sqlite:///{storage}")),
        directions=["minimize", "minimize"],
        load_if_exists=True,
    )
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _quick(storage: Any) -> Any:
    """The storage without a wait for the disk at each of a trial's twenty writes.

    What is written survives a process that is killed, not a machine that loses its power.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    storage.engine.dispose()  # What is open already waits.
    return storage


def records(study: Any) -> list[Record]:
    """The whole trials, in the order in which they were proposed."""
    from optuna.trial import TrialState

    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [dict(trial.user_attrs["record"]) for trial in found]


def explore(
    study: Any,
    evaluate: Evaluate,
    space: Space,
    *,
    trials: int,
    seed: int,
    strategy: str = EVOLUTION,
    budget: Budget | None = None,
) -> list[Record]:
    """Try `trials` different candidates (all, where the space has fewer); the records of all.

    strategy: EVOLUTION is NSGA-II (Deb et al., 2002) in four generations, CHANCE draws each
    candidate by itself. A candidate that was tried before costs nothing and counts as no trial.
    """
    from optuna.trial import TrialState

    while len(done := records(study)) < min(trials, space.size):
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        # A fresh generator a proposal: what a stopped search drew does not change what follows.
        study.sampler = _sampler(strategy, seed * 100_003 + len(ended), trials)
        if _repeats(ended) >= MOST_REPEATS:
            untried = [one for one in space.every() if all(one != r["choice"] for r in done)]
            study.enqueue_trial(random.Random(seed * 100_003 + len(ended)).choice(untried))
        trial = study.ask()
        choice = {
            name: trial.suggest_categorical(name, values) for name, values in space.choices.items()
        }
        if any(choice == one["choice"] for one in done):
            study.tell(trial, state=TrialState.PRUNED)
            continue
        record = evaluate(choice)
        trial.set_user_attr("record", record)
        over = (budget or Budget()).over(record)
        if "size" in over:
            trial.set_constraint("size", over["size"])
        study.tell(trial, [1 - record["right"], record["macs"]])
    return done


def _repeats(ended: list[Any]) -> int:
    """How many proposals at the end were tried before."""
    count = 0
    for trial in reversed(ended):
        if "record" in trial.user_attrs:
            break
        count += 1
    return count


def _sampler(strategy: str, seed: int, trials: int) -> Any:
    import optuna

    if strategy == CHANCE:
        return optuna.samplers.RandomSampler(seed=seed)
    if strategy != EVOLUTION:
        raise ValueError(f"a search is by {EVOLUTION} or by {CHANCE}, found {strategy!r}")
    return optuna.samplers.NSGAIISampler(population_size=max(2, trials // GENERATIONS), seed=seed)
