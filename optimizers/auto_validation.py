"""What an automatic search judges trials on: a cut of training, and the calibration split.

Never the evaluation split: what has chosen a pipeline cannot judge it as well.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from optimizers.base import Automatic, Context, Refused
from optimizers.finetune import holdout
from zoo import Model, Split

SHARE = 0.2
"""Of the training split, left out of every training of a trial."""

WHOLE = 32
"""Samples that run at once; parts of more are cut to multiples of it, since a compiled artifact
would compile for a tail. So many of the calibration split are what a trial is looked at with first.
"""

LEAST_STEPS = 2
"""So many samples must fit into the drop that is allowed; with fewer a standard error would refuse
every trial, and the drop is taken as it is."""


@dataclass(frozen=True)
class Part:
    """Samples with FP32's outputs and scores. seen: whether FP32 was trained on them."""

    split: Split
    outputs: Any
    scores: Tensor
    seen: bool


class Validation:
    """Judges artifacts against FP32 on samples that no trial was trained on.

    Where both sides come from FP32's weights (classes A and B), on the part cut from training and
    on the calibration split; another architecture (class C) on the latter alone, since FP32 has
    learned the former by heart and the other has not seen it. Scales come from the calibration
    split too: a few thousand extreme values, not answers.

    baseline: FP32, on its device. Raises Refused where there is no calibration split.
    """

    def __init__(self, context: Context, asked: Automatic, baseline: nn.Module) -> None:
        self.context, self.asked = context, asked
        self.model = context.model
        calibration = context._split("calibration")
        self.parts = []
        self.rest: Split | None = None
        try:
            self.rest, cut = holdout(context.train(), SHARE, context.seed)
        except (Refused, ValueError) as reason:  # none, or too small to cut
            self.told = f"the calibration split: {reason}"
        else:
            self.parts.append(self._part(baseline, cut, seen=True))
            self.told = "a fifth of the training split, and the calibration split"
        self.parts.append(self._part(baseline, calibration, seen=False))
        self.few = self._part(baseline, _spread(calibration, WHOLE), seen=False)

    def _part(self, baseline: nn.Module, split: Split, *, seen: bool) -> Part:
        if len(split) > WHOLE:
            split = _spread(split, len(split) // WHOLE * WHOLE)
        outputs = self.asked.run(baseline, split, self.asked.baseline_target)
        return Part(split, outputs, self.model.score(outputs, split, outputs).double(), seen)

    @property
    def samples(self) -> int:
        return sum(len(part.split) for part in self.parts)

    def look(self, call: Callable[..., Any], cls: str) -> str | None:
        """The cheap check: why a few answers are no answers or none like FP32's, or None.

        Far below the limit only: three standard errors of so few samples.
        """
        found = self.asked.run(call, self.few.split, self.context.target)
        problem, alike = self.asked.alike(self.few.outputs, found, self.few.split.labels)
        least = self.asked.fidelity
        if problem or least is None or cls == "C" or alike is None:
            return problem
        slack = 3 * math.sqrt(least * (1 - least) / len(self.few.split))
        if not alike >= least - slack:
            return f"{alike:.1%} like FP32 on {len(self.few.split)} samples"
        return None

    def judge(self, call: Callable[..., Any], cls: str) -> dict[str, Any]:
        """score, drop, drop_error (None where samples are too few for it), samples, alike.

        Raises ValueError for answers of another form, or that are not finite.
        """
        parts = [part for part in self.parts if cls != "C" or not part.seen]
        lost, scores, groups, like = [], [], [], []
        for number, part in enumerate(parts):
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
            **_drop(torch.cat(lost), groups, self.asked.max_drop),
            "alike": _joined(like),
        }


def _drop(lost: Tensor, groups: list[tuple[int, int]], most: float) -> dict[str, Any]:
    """Mean loss with its standard error by groups, of at least one sample."""
    sums: dict[tuple[int, int], float] = {}
    for group, one in zip(groups, lost.tolist(), strict=True):
        sums[group] = sums.get(group, 0.0) + one
    count = len(lost)
    error = max(math.sqrt(sum(one**2 for one in sums.values())), 1.0) / count
    enough = len(sums) * most >= LEAST_STEPS
    return {
        "drop": float(lost.mean()),
        "drop_error": error if enough else None,
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
