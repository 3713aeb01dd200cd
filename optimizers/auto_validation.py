"""What an automatic search judges trials on: a cut of training, and the calibration split.

Never the evaluation split: what has chosen a pipeline cannot judge it as well.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import auto_reference
from optimizers.base import Automatic, Context, Refused
from optimizers.finetune import holdout
from zoo import Model, Split

SHARE = 0.2
"""Of the training split, left out of every training of a trial. Two halves that judge each other's
trainings would be five times the samples for the same time, and are too little to train on:
mobilenet_v3_small with 70 % of its channels pruned loses 1.3 points so, 0.45 with all samples."""

WHOLE = 32
"""Samples that run at once; parts of more are cut to multiples of it, since a compiled artifact
would compile for a tail. So many of the calibration split are what a trial is looked at with first.
"""

LEAST_STEPS = 2
"""So many samples must fit into the drop that is allowed; with fewer a standard error would refuse
every trial, and the drop is taken as it is."""

LIKELY = 0.674
"""Standard deviations (of both samplings, this one and the gate's) that a drop is from the most
that the gate can pass: then it passes in three of four draws. What the gate leaves undecided helps
nobody, and the strongest that may pass is asked for, which is the luckiest as well."""


@dataclass(frozen=True)
class Part:
    """Samples with FP32's outputs and scores."""

    split: Split
    outputs: Any
    scores: Tensor


@dataclass(frozen=True)
class Start:
    """FP32 on the CPU, as trials start from it, and on its device, with its answers there."""

    module: nn.Module
    placed: nn.Module
    parts: list[Part]
    few: Part

    @property
    def score(self) -> float:
        return float(torch.cat([part.scores for part in self.parts]).mean())


class Validation:
    """Judges artifacts against FP32: on a part cut from training, and on the calibration split.

    FP32 was trained on that part as well. What keeps its weights (class A) knows it as well as
    FP32 does; what is trained again forgets some of it, and would seem to lose what it never knew:
    1.3 to 1.5 points were seen where the truth was 0.05. So trials of classes B and C start from
    FP32 trained by the model's own recipe without that part, and are compared with that: neither
    side has seen what judges, and both have learned from equally many samples. Scales come from
    the calibration split: a few thousand extreme values, not answers.

    module: FP32 on the CPU. folder: where the second FP32 is kept, for a search that goes on.
    Raises Refused where there is no calibration split.
    """

    def __init__(self, context: Context, asked: Automatic, module: nn.Module, folder: Path) -> None:
        self.context, self.asked, self.folder = context, asked, folder
        self.model = context.model
        self.splits = [context._split("calibration")]
        self.rest: Split | None = None
        try:
            self.rest, cut = holdout(context.train(), SHARE, context.seed)
        except (Refused, ValueError) as reason:  # none, or too small to cut
            self.told = f"the calibration split: {reason}"
        else:
            self.splits.insert(0, cut)
            self.told = "a fifth of the training split, and the calibration split"
        self.whole = self._start(module)

    def _start(self, module: nn.Module) -> Start:
        placed = self.asked.baseline_target.place(copy.deepcopy(module).eval())
        few = _spread(self.splits[-1], WHOLE)
        parts = [self._part(placed, one) for one in self.splits]
        return Start(module, placed, parts, self._part(placed, few))

    def _part(self, baseline: nn.Module, split: Split) -> Part:
        if len(split) > WHOLE:
            split = _spread(split, len(split) // WHOLE * WHOLE)
        outputs = self.asked.run(baseline, split, self.asked.baseline_target)
        return Part(split, outputs, self.model.score(outputs, split, outputs).double())

    @property
    def samples(self) -> int:
        return sum(len(part.split) for part in self.whole.parts)

    @functools.cached_property
    def apart(self) -> Start:
        """FP32 that has not seen what judges; trained when it is first asked for.

        FP32 itself where it was not trained here, or where nothing was cut.
        """
        if self.rest is None or not hasattr(self.model, "train"):
            return self.whole
        watched = Watched(self.model, self.rest)
        return self._start(auto_reference.trained(watched.model, self.context.seed, self.folder))

    def reference(self) -> dict[str, Any] | None:
        """What the second FP32 learned from and what both score; None where there is none."""
        if self.apart is self.whole or self.rest is None:
            return None
        return {
            "trained_on": len(self.rest),
            "score": self.apart.score,
            "fp32": self.whole.score,
        }

    def start(self, cls: str) -> Start:
        """What trials of a class start from and are compared with."""
        return self.whole if cls == "A" else self.apart

    def look(self, call: Callable[..., Any], cls: str) -> str | None:
        """The cheap check: why a few answers are no answers or none like FP32's, or None.

        Far below the limit only: three standard errors of so few samples.
        """
        few = self.start(cls).few
        found = self.asked.run(call, few.split, self.context.target)
        problem, alike = self.asked.alike(few.outputs, found, few.split.labels)
        least = self.asked.fidelity
        if problem or least is None or cls == "C" or alike is None:
            return problem
        slack = 3 * math.sqrt(least * (1 - least) / len(few.split))
        if not alike >= least - slack:
            return f"{alike:.1%} like FP32 on {len(few.split)} samples"
        return None

    def judge(self, call: Callable[..., Any], cls: str) -> dict[str, Any]:
        """score, drop, drop_error (None where samples are too few for it), samples, alike, and
        drop_high: what must lie within the drop that is allowed.

        Raises ValueError for answers of another form, or that are not finite.
        """
        lost, scores, groups, like = [], [], [], []
        for number, part in enumerate(self.start(cls).parts):
            found = self.asked.run(call, part.split, self.context.target)
            problem, alike = self.asked.alike(part.outputs, found, part.split.labels)
            if problem:
                raise ValueError(problem)
            like.append((alike, len(part.split)))
            scores.append(self.model.score(found, part.split, part.outputs).double())
            lost.append(part.scores - scores[-1])
            own = part.split.groups if part.split.groups is not None else range(len(part.split))
            groups += [(number, int(group)) for group in own]
        return {
            "score": float(torch.cat(scores).mean()),
            **_drop(torch.cat(lost), groups, self.asked),
            "alike": _joined(like),
        }


def _drop(lost: Tensor, groups: list[tuple[int, int]], asked: Automatic) -> dict[str, Any]:
    """Mean loss with its standard error by groups, of at least one sample.

    The most that it counts for: one standard error more, or what the accuracy gate, which has
    samples of its own and adds a margin, will make of it.
    """
    sums: dict[tuple[int, int], float] = {}
    for group, one in zip(groups, lost.tolist(), strict=True):
        sums[group] = sums.get(group, 0.0) + one
    count = len(lost)
    drop = high = float(lost.mean())
    error = max(math.sqrt(sum(one**2 for one in sums.values())), 1.0) / count
    enough = count * asked.max_drop >= LEAST_STEPS
    if enough:
        gate = error * math.sqrt(len(sums) / asked.judged_on) if asked.judged_on else 0.0
        high = drop + max(error, asked.margin * gate + LIKELY * math.hypot(error, gate))
    return {
        "drop": drop,
        "drop_error": error if enough else None,
        "drop_high": high,
        "samples": count,
    }


def _joined(like: list[tuple[float | None, int]]) -> float | None:
    """Over all parts; a lowest cosine is not lower for being averaged with another."""
    known = [(value, count) for value, count in like if value is not None]
    total = sum(count for _, count in known)
    return sum(value * count for value, count in known) / total if known else None


def _spread(split: Split, count: int) -> Split:
    """So many samples, or all there are, spread evenly over a split."""
    rows = torch.linspace(0, len(split) - 1, min(count, len(split))).round().long()
    args, kwargs = split.take(rows)
    labels = None if split.labels is None else split.labels[rows]
    groups = None if split.groups is None else [split.groups[row] for row in rows.tolist()]
    return Split(kwargs or args, labels, groups)


class Watched:
    """A copy of a model whose training split is what the validation left, and who asked for it."""

    def __init__(self, model: Model, rest: Split | None) -> None:
        self.asked = False
        self.model = copy.copy(model)
        split = model.split

        def narrowed(name: str) -> Split:
            if name == "evaluation":
                raise PermissionError("a search does not see the evaluation split")
            if name == "train" and rest is not None:
                self.asked = True
                return rest
            return split(name)

        vars(self.model)["split"] = narrowed
        vars(self.model)["example"] = model.example
