"""Trials that cannot change what a search finds, by what it has measured: skipped, with the reason.

Building and judging a trial costs seconds to minutes; measuring time is spent where it can still
change the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import optimizers.base
from optimizers.auto_goal import (
    DROPS,
    KEEPING,
    PASSES,
    SKIPPED,
    UNLIKE,
    Goal,
    Record,
    Stages,
    key,
)
from optimizers.base import Technique

FAR = 1.5
"""A last stage that costs so many times what the best one does is not tried after other stages:
less work in front of it makes both cheaper. Nor is what is akin to one that costs so much."""

ANOTHER = 3.0
"""The same after another architecture: kernels count less where little is left to do. On resnet18
ONNX Runtime's int8 takes 1.8 times as long as OpenVINO's, and 0.9 times on its student."""

NEAR = 1.25
"""Another variant of a technique costs about what the first one does."""

ENOUGH, SAVES = 2, 0.97
"""A change that leaves so many runtimes more than this share of what they cost saves no work."""

Of = Callable[[Stages], Record | None]


def pointless(stages: Stages, of: Of, records: list[Record], goal: Goal) -> str | None:
    """Why this trial need not be made, or None."""
    *before, (name, params) = stages
    technique = optimizers.base.get(name)
    cheaper = _cheaper(stages, of)
    if cheaper is not None:
        return f"{cheaper['pipeline']} keeps the accuracy, and this would cost no less"
    if technique.changes != "numerics":
        return None
    for other in technique.rescues:
        for one in _variants(tuple(before), other, of):
            if one["status"] == PASSES:
                return f"{one['pipeline']} keeps the accuracy with the same kernels"
    if before:
        reason = (
            _known(_cheaper(stages[-1:], of) or of(stages[-1:]), records, goal, _far(before))
            or _stronger(stages, records)
            or _fruitless(stages, of, records, goal)
        )
        if reason:
            return reason
    for other in technique.akin:
        for one in _variants(tuple(before), other, of):
            reason = _costly(one, records, goal, FAR * technique.quicker)
            if reason:
                return f"{reason}; this one's code is generated in the same way"
    if _spares(technique, params):
        for one in records:
            *earlier, (other, chosen) = one["stages"]
            spares = _spares(optimizers.base.get(other), chosen)
            if spares and one["status"] in (DROPS, UNLIKE) and key(earlier) == key(before):
                return f"{one['pipeline']} leaves layers in FP32 too: {one['reason']}"
    first = dict((technique.variants or ({},))[0])
    return None if params == first else _sibling(of((*before, (name, first))), records, goal)


def _variants(before: Stages, name: str, of: Of) -> list[Record]:
    """Trials of a technique's variants after the same stages."""
    variants = optimizers.base.get(name).variants or ({},)
    found = [of((*before, (name, dict(params)))) for params in variants]
    return [one for one in found if one is not None]


def _spares(technique: Technique, params: dict[str, Any]) -> set[str]:
    """The parameter, if any, with which layers are left in FP32."""
    name, value = technique.sparing or ("", None)
    return {name} if name and params[name] == value else set()


def _cheaper(stages: Stages, of: Of) -> Record | None:
    """An earlier variant of the last stage that keeps the accuracy and can cost no more.

    What leaves no layers in FP32 costs no more than what does.
    """
    *before, (name, params) = stages
    technique = optimizers.base.get(name)
    free = {*technique.costless, *_spares(technique, params)}
    for variant in technique.variants if free else ():
        like = {one: variant[one] if one in free else value for one, value in params.items()}
        if like == params:
            break
        found = of((*before, (name, like)))
        if found is not None and found["status"] in KEEPING:
            return found
    return None


def best_of(records: Sequence[Record], goal: Goal, last: bool = False) -> tuple[float, str]:
    """The least that a trial costs at most, and its name. last: of last stages by themselves."""
    costs = [
        (goal.cost(one)[1], one["pipeline"])
        for one in records
        if one["status"] == PASSES and not (last and _changes(one["stages"]))
    ]
    return min(costs, default=(math.inf, ""))


def _changes(stages: Any) -> bool:
    """Whether it is more than a stage that changes numerics alone."""
    return len(stages) > 1 or optimizers.base.get(stages[0][0]).changes != "numerics"


def _far(before: Sequence[Any]) -> float:
    """How far off a last stage is too far after these."""
    changed = [optimizers.base.get(name).changes for name, _ in before]
    return ANOTHER if "architecture" in changed else FAR


def _known(alone: Record | None, records: list[Record], goal: Goal, far: float) -> str | None:
    """A last stage that does not work by itself, trains, or costs so much more than another."""
    if alone is None:
        return None
    if alone["status"] not in KEEPING:
        return f"{alone['pipeline']} by itself, {alone['status']}: {alone['reason']}"
    if alone.get("trains"):
        return f"{alone['pipeline']} asks for training, and what comes before it has had that"
    best, name = best_of(records, goal, last=True)
    least = goal.cost(alone)[0]
    if math.isfinite(least) and least > far * best:
        return f"{alone['pipeline']} by itself costs {least / best:.1f} times what {name} does"
    return None


def _stronger(stages: Stages, records: list[Record]) -> str | None:
    """The same last stage after a stronger change of the same kind, which comes first."""
    kind = _kind(stages)
    for one in records:
        if len(one["stages"]) == len(stages) and _kind(one["stages"]) == kind:
            if one["status"] in KEEPING:
                return f"{one['pipeline']} keeps the accuracy with less work"
            if one["status"] == SKIPPED:
                return f"{one['pipeline']} was skipped too: {one['reason']}"
    return None


def _fruitless(stages: Stages, of: Of, records: list[Record], goal: Goal) -> str | None:
    """What comes before has made none of the last stages that were tried after it cheaper."""
    before = key(stages[:-1])
    found = []
    for one in records:
        if len(one["stages"]) == len(stages) and key(one["stages"][:-1]) == before:
            alone = of(one["stages"][-1:]) or {}
            if goal.field in one and goal.field in alone:
                found.append((one[goal.field] / alone[goal.field], one, alone))
    if len(found) < ENOUGH:
        return None
    share, one, alone = min(found, key=lambda told: told[0])
    if share <= SAVES:
        return None
    return f"{one['pipeline']} costs {share:.2f} times what {alone['pipeline']} does"


def _kind(stages: Any) -> str:
    """All but the parameters of the stage before the last."""
    return key([*stages[:-2], (stages[-2][0], {}), stages[-1]])


def _sibling(first: Record | None, records: list[Record], goal: Goal) -> str | None:
    """Another variant than the first, which keeps the accuracy and is not among the best."""
    if first is None:
        return None
    return _costly(first, records, goal, NEAR)


def _costly(one: Record, records: list[Record], goal: Goal, share: float) -> str | None:
    """It keeps the accuracy and costs more than so many times what the best one does."""
    best, name = best_of(records, goal)
    least = goal.cost(one)[0]
    if one["status"] == PASSES and math.isfinite(least) and least > share * best:
        return (
            f"{one['pipeline']} keeps the accuracy and costs {least / best:.1f} times what "
            f"{name} does"
        )
    return None
