"""A model found by searching a space of architectures, under a budget of latency and size."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from optimizers.base import Context, Device, Refused, Technique
from optimizers.eager import EagerModule
from optimizers.search_evaluator import Budget, Evaluator, Record, Rule, front
from optimizers.search_space import SPACES
from optimizers.search_trials import CHANCE, Store, explore
from zoo import Model

SCALED = "scaled down"


class ArchitectureSearch(Technique):
    """The best of `trials` candidates of the model's space; subclasses say who proposes them.

    Each candidate is trained for a short while and scored on a fifth of the training split;
    latency is measured on the target, in turns with the baseline. Returned is the fastest candidate
    (the smallest, where only a size was stated) of those whose score is within one standard error
    of the best within `--latency-budget` (unless stated, no slower than the baseline) and
    `--size-budget`, trained for longer on the whole split. Beside it, scored in the same way: as
    many candidates drawn by chance, and the hand-designed model scaled down in width. Where no
    candidate of the search is within the budgets, the best of those is returned; where none is at
    all, the one that misses by least.
    """

    strategy: ClassVar[str]
    """One of search_trials.STRATEGIES."""

    def refuses(self, model: Model, target: Device) -> str | None:
        if model.full_name not in SPACES:
            return f"{model.full_name} has no space of architectures to search"
        if importlib.util.find_spec("optuna") is None:
            return "optuna is not installed (pip install optgauge[search])"
        return None

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        trials = int(context.params["trials"])
        if trials < 1:
            raise ValueError(f"a search needs at least one trial, found {trials}")
        return searched(module, context, trials, self.strategy)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return SPACES[notes["space"]].build(notes["choice"]).eval()


def searched(module: nn.Module, context: Context, trials: int, strategy: str) -> EagerModule:
    """Search the model's space, train what was found, and note trials, front and budget.

    Goes on where an earlier, stopped search of `context.kept` ended.
    """
    name = context.model.full_name
    if name not in SPACES:
        raise Refused(f"{name} has no space of architectures to search")
    space, stated = SPACES[name], Budget(**context.budget)
    store = Store((context.kept or context.workdir) / "search.sqlite3")
    evaluate = Evaluator(context, space, module, store.facts().get("reference_ms"))
    baseline_ms = evaluate.stopwatch.reference_ms
    store.note("reference_ms", baseline_ms)
    limits = {"latency_ms": baseline_ms, **context.budget}
    rule, allowed = Rule.of(len(evaluate.part), context.budget), Budget(**limits)

    def by(one: str) -> list[Record]:
        return explore(
            store, evaluate, space, trials=trials, seed=context.seed, strategy=one, budget=stated
        )

    def told(records: Sequence[Record]) -> dict[str, Any]:
        return {
            "trials": list(records),
            "front": front(records),
            "best": rule.leader(records, allowed),
            "chosen": rule.best(records, allowed),
        }

    own = told(by(strategy))
    hand = store.outcomes(space.scaled_down(), evaluate, space)
    others = {CHANCE: told(by(CHANCE)), **({SCALED: told(hand)} if hand else {})}
    source, number = _returned(strategy, own, others, allowed, rule)
    picked = {strategy: own, **others}[source]["trials"][number]
    chosen = evaluate.built(picked["choice"])
    training = evaluate.finished(chosen)
    # Measured anew: the fastest of many measurements is one that was lucky.
    final = {**picked, **evaluate.stopwatch.measure(chosen)}
    context.notes.update(
        space=name,
        choice=picked["choice"],
        search={
            "strategy": strategy,
            "asked": trials,
            "candidates": space.size,
            "samples": len(evaluate.part),
            "baseline_ms": baseline_ms,
            "limits": limits,
            "by": rule.by,
            **own,
            "beside": others,
            "returned": {"of": source, "trial": number},
        },
        budget={
            **context.budget,
            "latency_measured_ms": final["latency_ms"],
            "latency_error": final["latency_error"],
            "missed_by": stated.misses({**final, "latency_error": 0.0}),
        },
        training=training,
    )
    return EagerModule(chosen)


def _returned(
    strategy: str, own: Mapping[str, Any], others: Mapping[str, Any], limits: Budget, rule: Rule
) -> tuple[str, int]:
    """Whose trial is returned, and its number: the search's own, where it has one within limits."""
    if not limits.misses(own["trials"][own["chosen"]]):
        return strategy, own["chosen"]
    lists = {strategy: own, **others}
    places = [(name, one["chosen"]) for name, one in lists.items()]
    return places[rule.best([lists[name]["trials"][number] for name, number in places], limits)]
