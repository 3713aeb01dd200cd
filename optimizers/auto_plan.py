"""Which pipelines an automatic search tries, and in which order.

A function of the techniques there are, how far it may go, and which changes of structure and
architecture keep the accuracy; never of a clock, so that a seed decides the list. What cannot win
any more by what was measured is in the list all the same, and skipped (auto_pointless).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optimizers.base
from optimizers.auto_goal import Stages
from optimizers.base import Technique

WIDTHS = ("numerics", "structure", "architecture")
CLASSES = dict(zip(WIDTHS, "ABC", strict=True))

Passed = Callable[[Stages], bool]
Plan = Generator[Stages, None, None]


MILDER = 2
"""Strengths of a change that others are joined with: the strongest, and the next that was tried."""


@dataclass(frozen=True)
class Outcomes:
    """What the plan may ask about trials that were made, of structures and architectures alone.

    works: it kept the accuracy and its claims. lighter: it has less work to do than without its
    last stage (or, where the smallest is wanted, fewer parameters). vain: it was not made, since it
    would have been no faster. hopeless: it was trained, and answers so unlike FP32 that a milder
    one would as well.
    """

    works: Passed
    lighter: Passed
    vain: Passed
    hopeless: Passed = lambda _: False


def techniques(allow: str) -> dict[str, list[Technique]]:
    """What may be tried, by what it changes, in the order in which it is tried."""
    found: dict[str, list[Technique]] = {width: [] for width in WIDTHS[: WIDTHS.index(allow) + 1]}
    for name in optimizers.base.names():
        one = optimizers.base.get(name)
        searches = one.automatic or one.budgeted
        if one.suite == "gates" and one.changes in found and not searches and name != "none":
            found[one.changes].append(one)
    for several in found.values():
        several.sort(key=_promise)
    return found


def _promise(one: Technique) -> tuple[bool, bool, bool, str]:
    """Runtimes first, what compiles late, and after all what rescues another."""
    return bool(one.rescues), one.compiles, "runtime" not in one.claims, one.name


def cls(stages: Stages) -> str:
    """The class of a pipeline: that of its stage that changes most."""
    return max(CLASSES[optimizers.base.get(name).changes] for name, _ in stages)


def plan(allow: str, outcomes: Outcomes) -> Plan:
    """Every pipeline in order; each must have been tried before the next is asked for.

    First each technique that changes numerics, by itself, in all its variants. Then, as far as it
    is allowed, other architectures, which save most: each that keeps the accuracy is joined with
    each of the former, and with a change of structure between them. At last what changes FP32's own
    structure: how much of that the accuracy bears is found by bisection, and the strongest that
    keeps it is joined likewise.
    """
    known = techniques(allow)
    last = [
        (technique.name, dict(params))
        for technique in known["numerics"]
        for params in technique.variants or ({},)
    ]
    for stage in last:
        yield (stage,)
    architectures = []
    for technique in known.get("architecture", ()):
        for params in technique.variants or ({},):
            stages = ((technique.name, dict(params)),)
            yield stages
            if outcomes.works(stages):
                architectures.append(stages)
    for stages in architectures:
        yield from _joined([stages], last, outcomes)
    for stages in architectures[:1]:
        for technique in known["structure"]:
            if technique.scale is not None:
                found = yield from _strongest(technique, stages, outcomes)
                yield from _joined(found, last, outcomes)
    for technique in known.get("structure", ()):
        found = yield from _strongest(technique, (), outcomes)
        yield from _joined(found, last, outcomes)


def _joined(
    firsts: Sequence[Stages], last: Sequence[tuple[str, dict[str, Any]]], outcomes: Outcomes
) -> Plan:
    """Each of `last` after each of `firsts` that saves any work, the first of these first."""
    for first in firsts[:MILDER]:
        if outcomes.lighter(first):
            for stage in last:
                yield (*first, stage)


def _strongest(
    technique: Technique, before: Stages, outcomes: Outcomes
) -> Generator[Stages, None, list[Stages]]:
    """The strongest parameters that keep the accuracy, and the next milder ones that were tried.

    The first variant is taken through the technique's scale by bisection, as a stronger change
    keeps no more than a milder one. Where it keeps the accuracy nowhere, the others are tried at
    the mildest: a training for each, and one step further than the first got none of them had kept
    it on any model of the zoo. Without a scale every variant is tried.
    """
    variants = [dict(params) for params in technique.variants or ({},)]
    if technique.scale is None:
        found = []
        for params in variants:
            stages = (*before, (technique.name, params))
            yield stages
            if outcomes.works(stages):
                found.append(stages)
        return found
    name, values = technique.scale

    def at(params: dict[str, Any], index: int) -> Stages:
        return (*before, (technique.name, {**params, name: values[index]}))

    kept: list[Stages] = []
    low, high = -1, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        yield at(variants[0], middle)
        if outcomes.works(at(variants[0], middle)):
            low = middle
            kept.insert(0, at(variants[0], middle))
            if not outcomes.lighter(kept[0]):  # Nor is a stronger one, by much.
                return kept
        elif outcomes.vain(at(variants[0], middle)):
            low = middle  # A stronger one has less to do.
        elif outcomes.hopeless(at(variants[0], middle)):
            return kept
        else:
            high = middle
    if kept or high == len(values):
        return kept
    for params in _others(variants, name):
        yield at(params, high)
        if outcomes.works(at(params, high)):
            kept.insert(0, at(params, high))
    return kept


def _others(variants: Sequence[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """Variants that differ from the first in more than the scaled parameter, each kind once."""
    rest = [{k: v for k, v in params.items() if k != name} for params in variants]
    for index in range(1, len(variants)):
        if rest[index] not in rest[:index]:
            yield variants[index]
