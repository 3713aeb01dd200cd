"""Whether a structure or an architecture saves any work: asked before it is trained, and after."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

import optimizers.base
from optimizers import pipeline
from optimizers.auto_bench import Bench
from optimizers.auto_goal import KEEPING, PASSES, Goal, Record, Stages, key, stages_of
from optimizers.auto_pointless import FAR, SAVES, best_of
from optimizers.auto_ways import Arm
from optimizers.base import Context, Refused
from optimizers.search_cost import macs_of
from zoo import Unavailable

GAINS = 0.99
"""A change that leaves more than this share of what a call costs is not worth a training."""


class Worth:
    """What a changed module has to do, against the one that was changed.

    whole: the latter, FP32 on the CPU. before: the stages that it has been through. technique: what
    changes it. context: of the trial. records: the trials so far. benches: what the goal measures.
    arm: a trial's artifact, as it is measured.
    """

    def __init__(
        self,
        whole: nn.Module,
        before: Stages,
        technique: str,
        context: Context,
        goal: Goal,
        records: Sequence[Record],
        benches: Mapping[str, Bench],
        arm: Callable[[Record], Arm],
    ) -> None:
        self.whole, self.before, self.technique = whole, before, technique
        self.context, self.goal = context, goal
        self.records, self.benches, self.arm = records, benches, arm
        self.likely: dict[str, Any] | None = None

    def lighter(self, made: nn.Module) -> bool:
        """Fewer parameters and, where it is not the bytes that count, fewer products."""
        if not self._smaller(made):
            return False
        return self.goal.field == "bytes" or self.left(made) <= SAVES

    def left(self, made: nn.Module) -> float:
        """The share of the products that is left.

        made: on the target, or as it is trained, FP32 on the CPU.
        """
        batch = self.context.model.example(1)
        one = next(made.parameters())
        trained = one.device.type == "cpu" and one.dtype == torch.float32
        own = batch if trained else self.context.target.cast(batch)
        return macs_of(made, own) / macs_of(self.whole, batch)

    def in_vain(self, module: nn.Module) -> str | None:
        """Why a module that is to be trained is no faster for what was changed, or None.

        module: its structure is what it will be, its weights are not. It is built with the last
        stage that was best without the change, and measured: a few seconds, where a training may
        take minutes. One that is not smaller may run in kernels of its own (2:4 sparsity), which
        this cannot see. What was measured is kept as `likely` (optimizers.auto_goal.Record).
        """
        if not self._smaller(module):
            return None
        if self.goal.field != "bytes" and (left := self.left(module)) > SAVES:
            return f"leaves {left:.0%} of the products to do"
        best = self._best()
        return None if best is None else self._no_cheaper(module, best)

    def _smaller(self, made: nn.Module) -> bool:
        return _parameters(made) < _parameters(self.whole)

    def _best(self) -> Record | None:
        """The trial that costs least without the change, of those that are built in seconds."""
        known = [one for one in self.records if self._quick(one)]
        return min(known, key=lambda one: self.goal.cost(one)[1], default=None)

    def _quick(self, one: Record) -> bool:
        *before, (name, _) = one["stages"]
        technique = optimizers.base.get(name)
        return (
            one["status"] == PASSES
            and self.goal.field in self.benches
            and key(before) == key(self.before)
            and technique.changes == "numerics"
            and not technique.compiles
            and not (one.get("trains") and not before)
        )

    def _no_cheaper(self, module: nn.Module, best: Record) -> str | None:
        name, params = stages_of(best)[-1]
        # Nobody else starts from these weights: their export is of no use to others.
        folder = self.context.workdir / "worth"
        own = dataclasses.replace(self.context, workdir=folder, worth=None, exported=None)
        try:
            # devices=[]: what is trained is on the CPU.
            with torch.random.fork_rng(devices=[]):
                built, _ = pipeline.apply([(name, params)], copy.deepcopy(module), own)
        except (Refused, Unavailable, RuntimeError):
            # With that stage it may not run; its training and the others tell what it is worth.
            return None
        bench, field = self.benches[self.goal.field], self.goal.field
        # In turns: a few percent are worth a training, and two measurements apart differ by more.
        told = bench.race({0: self.arm(best), 1: bench.arm(built, best.get("batch", 1))})
        costs = {name: told[1][name] for name in (field, f"{field}_error")}
        self.likely = {"last": [name, params], **costs}
        share = told[1][field] / told[0][field]
        if share > GAINS:
            return f"would make {best['pipeline']} cost {share:.2f} times what it does without"
        return self._no_better(name) or self._beaten(name)

    def _no_better(self, last: str) -> str | None:
        """Whether a milder change by the same technique keeps the accuracy, and surely costs as
        little."""
        assert self.likely is not None
        for one in self.records:
            *before, (name, _) = one["stages"]
            alike = name == self.technique and key(before) == key(self.before)
            likely = one.get("likely", {})
            if alike and one["status"] in KEEPING and likely.get("last") == self.likely["last"]:
                share = self.goal.cost(self.likely)[0] / self.goal.cost(likely)[1]
                if share > SAVES:
                    return f"would cost, with {last}, as much as {one['pipeline']} does"
        return None

    def _beaten(self, last: str) -> str | None:
        """Whether another change that keeps the accuracy is far better than this one will be."""
        assert self.likely is not None
        least, name = best_of(self.records, self.goal)
        share = self.goal.cost(self.likely)[0] / least
        if not share > FAR:
            return None
        return f"would cost, with {last}, {share:.1f} times what {name} does"


def _parameters(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())
