"""Tries the candidates of a search, and keeps each as it is done.

The trials lie in a study of optuna in an SQLite file. A search that was stopped goes on after its
last one: proposals are made anew from the first, which takes no time, and what was tried before is
looked up instead of trained. So whoever proposes needs no state on disk, a second search of the
same space (chance, beside evolution) trains nothing twice, and no stop changes what is proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from optimizers.search_controller import Controller
from optimizers.search_evaluator import Budget, Record
from optimizers.search_proposers import Chance, Evolution, Proposer, key
from optimizers.search_space import Choice, Space

EVOLUTION, REINFORCE, CHANCE = "evolution", "reinforcement learning", "chance"
STRATEGIES: dict[str, type[Proposer]] = {
    EVOLUTION: Evolution,
    REINFORCE: Controller,
    CHANCE: Chance,
}

Evaluate = Callable[[Sequence[Choice]], Iterable[Record]]
"""Scores candidates, in their order, each told as soon as it is done."""


class Store:
    """Tried candidates of one space and seed, in an SQLite file that is made where there is none.

    Raises RuntimeError for a file that is none. What is written survives a process that is killed.
    """

    def __init__(self, path: Path) -> None:
        import optuna
        from sqlalchemy.exc import DatabaseError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._study = optuna.create_study(
                study_name="search",
                storage=f"sqlite:///{path}",
                directions=["minimize", "minimize"],
                load_if_exists=True,
            )
            trials = self._study.get_trials(deepcopy=False)
        except DatabaseError as error:
            raise RuntimeError(
                f"{path} holds no trials that can be read ({error.orig}); delete it to search anew"
            ) from error
        self._records = [dict(one.user_attrs["record"]) for one in trials]

    def facts(self) -> dict[str, Any]:
        """What was noted beside the trials."""
        return dict(self._study.user_attrs)

    def note(self, name: str, value: Any) -> None:
        self._study.set_user_attr(name, value)

    def all(self) -> list[Record]:
        """Every tried candidate, in the order in which it was tried."""
        return list(self._records)

    def outcomes(self, choices: Sequence[Choice], evaluate: Evaluate, space: Space) -> list[Record]:
        """The record of each choice, scored now where it was not before."""
        known = {key(one["choice"]): one for one in self._records}
        for record in evaluate([one for one in choices if key(one) not in known]):
            self._add(record, space)
            known[key(record["choice"])] = record
        return [known[key(one)] for one in choices]

    def _add(self, record: Record, space: Space) -> None:
        from optuna.distributions import CategoricalDistribution
        from optuna.trial import create_trial

        told = create_trial(
            params=record["choice"],
            distributions={
                name: CategoricalDistribution(values) for name, values in space.choices.items()
            },
            values=[1 - record["right"], record["macs"]],
            user_attrs={"record": record},
        )
        self._study.add_trial(told)
        self._records.append(record)


def explore(
    store: Store,
    evaluate: Evaluate,
    space: Space,
    *,
    trials: int,
    seed: int,
    strategy: str = EVOLUTION,
    budget: Budget | None = None,
) -> list[Record]:
    """Try `trials` different candidates (all, where the space has fewer); their records, in order.

    strategy: one of STRATEGIES. A candidate that it has tried before counts as no trial.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"a search is by {' or by '.join(STRATEGIES)}, found {strategy!r}")
    proposer = STRATEGIES[strategy](space, trials, seed, budget or Budget())
    wanted = min(trials, space.size)
    found: list[Record] = []
    tried: set[str] = set()
    while len(found) < wanted:
        batch: list[Choice] = []
        while len(batch) < min(proposer.batch, wanted - len(found)):
            batch.append(proposer.propose(tried))
            tried.add(key(batch[-1]))
        outcomes = store.outcomes(batch, evaluate, space)
        proposer.learn(outcomes)
        found += outcomes
    return found
