"""Stages applied one after another, timed; what comes out can be saved and rebuilt."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

import optimizers.base
from optimizers import half
from optimizers.base import Context, Device, Optimized, Refused
from optimizers.eager import EagerModule
from zoo import Model

Stages = Iterable[tuple[str, Mapping[str, Any]]]
"""Technique name and parameters of each stage, as suites.naming.parse gives them."""


def refuses(stages: Stages, model: Model, target: Device) -> str | None:
    """The first stage's sentence saying why it cannot be applied, or None."""
    stages = list(stages)
    only = target.techniques
    if only is not None and stages and stages[-1][0] not in only:
        return f"what runs on {target.name} ends with {' or '.join(only)}: the rest would not"
    for name, _ in stages:
        reason = _technique(name).refuses(model, target)
        if reason:
            return reason
    return None


def claims(stages: Stages, target: Device) -> tuple[str, ...]:
    """What gauge must find in the artifact: every stage's claims, each once, in order."""
    found = [claim for name, _ in stages for claim in _technique(name).claims_for(target)]
    return tuple(dict.fromkeys(found))


def apply(
    stages: Stages,
    module: nn.Module,
    context: Context,
    before: Sequence[Mapping[str, Any]] = (),
) -> tuple[Optimized, list[dict[str, Any]]]:
    """Apply every stage to `module`, which is FP32, on the CPU and the caller's own copy.

    context: its params and notes are replaced for every stage; a stage gets a folder of its own
        inside its workdir. before: records of the stages that `module` has been through already.

    Returns the result, in eval mode and placed on the target where it is eager, and a record
    {technique, params, seconds, notes} of each stage, those before included, and of those that an
    automatic technique chose after its own. No stage gives the baseline itself.
    Raises Refused where a stage refuses (all are asked before the first is applied), and where
    the result has no kernels in the target's number format.
    """
    parsed = [(name, dict(params)) for name, params in stages]
    reason = refuses(parsed, context.model, context.target)
    if reason:
        raise Refused(reason)
    module.eval()
    optimized: Optimized = EagerModule(module)
    records: list[dict[str, Any]] = [dict(record) for record in before]
    for index, (name, params) in enumerate(parsed):
        if optimized.module is None or optimized.ends:
            raise Refused(
                f"{name} needs an eager module, and {parsed[index - 1][0]} leaves none: "
                "it can only be the last stage"
            )
        began = time.perf_counter()
        folder = context.workdir / f"{index}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        stage = dataclasses.replace(context, params=params, workdir=folder, notes={}, made=[])
        optimized = _technique(name).apply(optimized.module, stage)
        if not isinstance(optimized, Optimized):
            raise TypeError(f"{name} returned a {type(optimized).__name__}, not an Optimized")
        if optimized.module is not None:
            optimized.module.eval()
        seconds = time.perf_counter() - began
        records.append(
            {"technique": name, "params": params, "seconds": seconds, "notes": stage.notes}
        )
        records += stage.made
    if isinstance(optimized, EagerModule):
        optimized.model = context.model.full_name
        # What an automatic technique tried is no part of what it found.
        optimized.stages = [
            {key: record[key] for key in ("technique", "params", "notes")}
            for record in records
            if not _technique(record["technique"]).automatic
        ]
        optimized.place(context.target)
        if context.target.dtype != "float32":
            half.try_once(optimized.module, context.model.example(1), context.target)
    return optimized, records


def _technique(name: str) -> optimizers.base.Technique:
    return optimizers.base.get(name)
