"""The pipeline that serves the user's goal best, found by trying."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
from typing import Any

import torch
from torch import nn

from optimizers import pipeline, sensitivity
from optimizers.auto_bench import meter
from optimizers.auto_goal import PASSES, Goal, Record, stages_of, undecided
from optimizers.auto_search import Search
from optimizers.base import Automatic, Context, Device, Optimized, Refused, Technique, register
from optimizers.eager import EagerModule
from zoo import Model


@register
class Auto(Technique):
    """Tries a list of pipelines, or its first `trials`, and is the best that is good enough.

    The list (optimizers.auto_plan) depends on the seed, the model, the target and which changes
    keep the accuracy; a clock decides only which of it need not be made, and which of the good
    ones is the best. What was found is applied once more, with the whole training split, as
    the command that names it would.
    """

    name = "auto"
    family = "search"
    changes = "architecture"
    claims = ("searched", "within_goal")
    variants = ({"trials": "all"},)
    standard = ()
    budgeted = True
    automatic = True

    def refuses(self, model: Model, target: Device) -> str | None:
        if importlib.util.find_spec("optuna") is None:
            return "optuna is not installed (pip install optgauge[search])"
        return None

    def apply(self, module: nn.Module, context: Context) -> Optimized:
        trials = _most(context.params["trials"])
        if context.automatic is None:
            raise ValueError("auto chooses pipelines itself and was given no goal")
        goal = goal_of(context.automatic, context.budget)
        if goal.field == "joules":
            meter(context.target)  # Refuses before the work is done.
        layers = _layers(module, context)
        search = Search(module, context, goal)
        search.run(trials)
        number, compared = search.choose()
        if number is None:
            raise Refused(f"no pipeline came as far as a score: {_reasons(search.records)}")
        context.notes.update(_told(search, trials, number, compared), sensitivity=layers)
        return _applied(search, module, context, number)


def _most(trials: str) -> int | None:
    """How much of the list is tried; None for all of it."""
    if trials == "all":
        return None
    if not trials.isdecimal() or int(trials) < 1:
        raise ValueError(f"trials must be all, or a whole number from 1 up, found {trials}")
    return int(trials)


def goal_of(asked: Automatic, budget: dict[str, float]) -> Goal:
    """The goal with the budgets that were stated."""
    return Goal(asked.max_drop, asked.optimise_for, speed=asked.speed, **budget)


def _layers(module: nn.Module, context: Context) -> dict[str, float]:
    """Which layers bear 8 bits badly; none where the model's outputs cannot be compared so."""
    try:
        return sensitivity.by_layer(module, context)
    except Refused:
        return {}


def _applied(search: Search, module: nn.Module, context: Context, number: int) -> Optimized:
    """The pipeline that was found, on the whole training split; its stages follow this one's."""
    chosen = search.records[number]
    stages = [(name, params) for name, params in stages_of(chosen)]
    own = dataclasses.replace(context, workdir=context.workdir / "found", budget={}, kept=None)
    module = copy.deepcopy(module)
    made: list[dict[str, Any]] = []
    if len(stages) > 1 and search.asked.goes_on(context.target):
        torch.manual_seed(context.seed)
        before, made = pipeline.apply(stages[:-1], module, own)
        assert isinstance(before, EagerModule), "the last stage alone ends in a runtime"
        if search.asked.keep is not None:
            search.asked.keep(before, made)
        module = before.module.to("cpu")
    torch.manual_seed(context.seed)
    optimized, made = pipeline.apply(stages[len(made) :], module, own, made)
    context.made += made
    return optimized


def _told(
    search: Search, trials: int | None, number: int, compared: dict[int, dict[str, float]]
) -> dict[str, Any]:
    """The notes: goal, trials, what was chosen and why."""
    asked, goal, records = search.asked, search.goal, search.records
    chosen = records[number]
    return {
        "search": {
            "kind": "pipelines",
            "asked": trials,
            "trials": records,
            "chosen": number,
            "pipeline": chosen["pipeline"],
            "batch": chosen.get("batch"),
            "compared": [{"trial": n, **one} for n, one in compared.items()],
            "baseline": {name: one.known for name, one in search.benches.items()},
            "validation": search.validation.told,
            "samples": search.validation.samples,
            "reference": search.reference,
            "undecided": undecided(records, goal, number) if chosen["status"] == PASSES else [],
        },
        "goal": {
            "max_drop": goal.max_drop,
            "optimise_for": goal.optimise_for,
            "allow": asked.allow,
            "batch": asked.batch,
            "field": goal.field,
            "latency_ms": goal.latency_ms,
            "size_mb": goal.size_mb,
            "speed": goal.speed,
            "missed_by": {} if chosen["status"] == PASSES else goal.misses(chosen),
        },
    }


def _reasons(records: list[Record]) -> str:
    """The first few reasons, each once."""
    told = dict.fromkeys(f"{one['pipeline']}: {one['reason']}" for one in records)
    return "; ".join(list(told)[:3]) or "nothing could be tried"
