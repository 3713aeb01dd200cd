"""A model found by evolution over real blocks, under a budget of latency and size."""

from __future__ import annotations

import importlib.util
from typing import Any

from torch import nn

from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from optimizers.search_evaluator import Budget, Evaluator, best, front
from optimizers.search_space import SPACES
from optimizers.search_trials import EVOLUTION, explore, open_study
from zoo import Model


@register
class NasEvolution(Technique):
    """The best of `trials` candidates of the model's space, proposed by NSGA-II (Deb et al., 2002).

    Multi-objective evolution of architectures as in Lu et al., 2019 (NSGA-Net), each candidate
    trained for a short while and scored on a fifth of the training split; latency is measured on
    the target, in turns with the baseline. Returned is the candidate with the best score within
    `--latency-budget` (unless stated, no slower than the baseline) and `--size-budget`, trained for
    longer on the whole split; where none is within them, the one that misses by least.
    """

    name = "nas_evolution"
    family = "search"
    changes = "architecture"
    claims = ("searched", "within_budget", "fewer_parameters", "fewer_macs")
    variants = ({"trials": 24},)
    standard = ("digits_mlp",)
    budgeted = True

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
        return searched(module, context, trials)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return SPACES[notes["space"]].build(notes["choice"]).eval()


def searched(
    module: nn.Module, context: Context, trials: int, strategy: str = EVOLUTION
) -> EagerModule:
    """Search the model's space, train what was found, and note trials, front and budget.

    Goes on where an earlier, stopped search of `context.kept` ended.
    """
    name = context.model.full_name
    if name not in SPACES:
        raise Refused(f"{name} has no space of architectures to search")
    space, stated = SPACES[name], Budget(**context.budget)
    study = open_study((context.kept or context.workdir) / "search.sqlite3")
    known = study.user_attrs.get("reference_ms")
    evaluate = Evaluator(context, space, module, known)
    if known is None:
        study.set_user_attr("reference_ms", evaluate.stopwatch.reference_ms)
    found = explore(
        study, evaluate, space, trials=trials, seed=context.seed, strategy=strategy, budget=stated
    )
    limits = {"latency_ms": evaluate.stopwatch.reference_ms, **context.budget}
    number = best(found, Budget(**limits))
    chosen = evaluate.built(found[number]["choice"])
    training = evaluate.finished(chosen)
    # Measured anew: the fastest of many measurements is one that was lucky.
    final = {**found[number], **evaluate.stopwatch.measure(chosen)}
    context.notes.update(
        space=name,
        choice=found[number]["choice"],
        search={
            "strategy": strategy,
            "asked": trials,
            "candidates": space.size,
            "samples": len(evaluate.part),
            "baseline_ms": evaluate.stopwatch.reference_ms,
            "limits": limits,
            "trials": found,
            "front": front(found),
            "chosen": number,
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
