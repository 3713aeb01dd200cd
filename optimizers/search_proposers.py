"""Who proposes the candidates of a search: evolution, or chance.

What a proposer learns of a candidate is its score, its products and the share that it is over a
budget of size: none depends on the clock, so that a seed decides the list of candidates. Latency,
which does, decides afterwards which of them is returned.
"""

from __future__ import annotations

import json
import random
from collections.abc import Container, Sequence
from typing import Any

from optimizers.search_evaluator import Budget, Record
from optimizers.search_space import Choice, Space

GENERATIONS = 4
MOST_REPEATS = 10
"""Proposals in a row that were tried before; then an untried candidate is drawn instead."""


def key(choice: Choice) -> str:
    """A choice as text, for looking it up."""
    return json.dumps(choice)


def over_size(record: Record, budget: Budget) -> float | None:
    """The share that a candidate is over the budget of size; None where none is stated."""
    return budget.over(record).get("size")


class Proposer:
    """Proposes untried candidates of a space, the same ones for the same seed and outcomes.

    batch: how many it proposes before it learns how they did.
    """

    batch = 1

    def __init__(self, space: Space, trials: int, seed: int, budget: Budget) -> None:
        self.space, self.budget = space, budget
        self._chance = random.Random(seed)

    def propose(self, tried: Container[str]) -> Choice:
        """A candidate that is not among those tried, of which there must be one."""
        for _ in range(MOST_REPEATS):
            choice = self.draw()
            if key(choice) not in tried:
                return choice
            self.repeated(choice)
        untried = [one for one in self.space.every() if key(one) not in tried]
        choice = self._chance.choice(untried)
        self.given(choice)
        return choice

    def draw(self) -> Choice:
        """A candidate, perhaps one that was tried before."""
        raise NotImplementedError

    def repeated(self, choice: Choice) -> None:
        """The candidate just drawn was tried before; it counts for nothing."""

    def given(self, choice: Choice) -> None:
        """A candidate will be tried that chance drew instead."""

    def learn(self, records: Sequence[Record]) -> None:
        """How the proposed ones did, in the order in which they were proposed."""


class Chance(Proposer):
    """Each candidate drawn by itself: random search, what any other has to beat."""

    def __init__(self, space: Space, trials: int, seed: int, budget: Budget) -> None:
        super().__init__(space, trials, seed, budget)
        self.batch = trials  # None depends on another.

    def draw(self) -> Choice:
        return {name: self._chance.choice(values) for name, values in self.space.choices.items()}


class Evolution(Proposer):
    """NSGA-II (Deb et al., 2002) of optuna over four generations.

    Objectives: the share of wrong answers, and multiply-accumulates; what keeps the budget of size
    comes before what does not.
    """

    def __init__(self, space: Space, trials: int, seed: int, budget: Budget) -> None:
        import optuna

        super().__init__(space, trials, seed, budget)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.batch = max(2, trials // GENERATIONS)
        sampler = optuna.samplers.NSGAIISampler(population_size=self.batch, seed=seed)
        self._study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        self._asked: dict[str, Any] = {}
        self._last: Any = None

    def draw(self) -> Choice:
        self._last = self._study.ask()
        choice = {
            name: self._last.suggest_categorical(name, values)
            for name, values in self.space.choices.items()
        }
        self._asked.setdefault(key(choice), self._last)
        return choice

    def repeated(self, choice: Choice) -> None:
        import optuna

        if self._asked.get(key(choice)) is self._last:
            del self._asked[key(choice)]
        self._study.tell(self._last, state=optuna.trial.TrialState.PRUNED)

    def given(self, choice: Choice) -> None:
        self._study.enqueue_trial(choice)
        self.draw()

    def learn(self, records: Sequence[Record]) -> None:
        for record in records:
            trial = self._asked.pop(key(record["choice"]))
            over = over_size(record, self.budget)
            if over is not None:
                trial.set_constraint("size", over)
            self._study.tell(trial, [1 - record["right"], record["macs"]])
