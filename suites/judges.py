"""What an automatic technique may ask of gauge: outputs, how alike they are, and claims."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

import optimizers
import zoo
from gauge import evidence, fidelity, outputs
from gauge.margins import PASS_LEVEL
from gauge.tango import quantile
from optimizers.base import Automatic
from optimizers.eager import EagerModule
from suites import naming
from suites import world as shared
from suites.world import World

Keep = Callable[[EagerModule, list[dict[str, Any]]], None]


def automatic(world: World, goal: dict[str, Any], keep: Keep) -> Automatic:
    """The user's goal with the judges of this world.

    goal: as suites.goals settles it. keep: see Automatic.keep.
    """
    variants = {name: optimizers.get(name).variants for name in optimizers.names()}
    return Automatic(
        **goal,
        baseline_target=world.baseline_target,
        name=functools.partial(naming.format_pipeline, variants=variants),
        run=run,
        alike=alike,
        audit=functools.partial(audit, world),
        keep=keep,
        **gate(world.model),
    )


def gate(model: zoo.Model) -> dict[str, Any]:
    """What the accuracy gate will have, and ask for: see Automatic.judged_on and margin."""
    groups = model.evaluation_groups
    degrees = max(1, groups - 1) if groups else None
    return {
        "judged_on": groups or model.evaluation_samples,
        "margin": quantile(PASS_LEVEL, degrees),
    }


def run(call: Any, split: Any, target: Any) -> Any:
    """Outputs of a whole split, on the CPU."""
    return shared.evaluate(call, split, target, getattr(call, "batch", None))


def alike(reference: Any, found: Any, labels: Any) -> tuple[str | None, float | None]:
    """(what makes outputs no answers, agreement with FP32's or the lowest cosine)."""
    problem = outputs.form_problem(outputs.flatten(reference), outputs.flatten(found))
    if problem:
        return f"the answers are not of FP32's form: {problem}", None
    bad, total = outputs.nonfinite(found)
    if bad:
        return f"{bad} of {total} outputs are not finite", None
    known = None if labels is None else labels.numpy()
    told = fidelity.compare(shared.arrays(reference), shared.arrays(found), known)
    return None, told["cosine"] if told["agreement"] is None else told["agreement"]


def audit(
    world: World,
    candidate: Any,
    directory: Path,
    claims: Sequence[str],
    baseline: nn.Module,
    start: nn.Module | None = None,
) -> list[str]:
    """Claims that gauge does not find in an artifact, with what it found instead.

    What a last stage hides is not asked for here: it was, of the stages before.
    """
    batch = candidate.batch or shared.EVALUATION_BATCH
    subject = evidence.Subject(
        candidate=candidate,
        baseline=baseline,
        batch=world.target.cast(world.example(batch)),
        directory=directory,
        target=world.target,
        start=start,
    )
    return [
        f"{name}: {one['text']}"
        for name, one in evidence.count(tuple(claims), subject).items()
        if not one["found"] and not one["numbers"].get("opaque")
    ]
