"""What an automatic search judges trials on: a cut of training, and the calibration split.

Never the evaluation split: what has chosen a pipeline cannot judge it as well.
"""

from __future__ import annotations

import copy
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import auto_reference
from optimizers.auto_samples import Group, Samples, cut, groups_of, spread, view
from optimizers.base import Automatic, Context, Refused
from optimizers.finetune import augment_of
from zoo import Model, Split

SHARE = 0.2
"""Of the training split, left out of every training of a trial. Two halves that judge each other's
trainings are five times the samples for the same time, but less to train on: mobilenet_v3_small
with 70 % of its channels pruned loses 0.6 points so, and gains 0.3 with four fifths (two cuts)."""

WHOLE = 32
"""Samples that run at once; parts of more are cut to multiples of it, since a compiled artifact
would compile for a tail. So many of the calibration split are what a trial is looked at with first.
"""

LEAST_STEPS = 2
"""So many samples must fit into the drop that is allowed; with fewer a standard error would refuse
every trial, and the drop is taken as it is."""

VIEWS = 4
"""Times that each sample is asked about where FP32 and what is trained again have both seen inputs
change in training: as it is, and changed so. What either has fitted by chance differs from one to
the next: with 70 % of resnet18's channels pruned, the standard error of the drop is 0.24 points
instead of 0.34, and its mean as near to the truth (four cuts of training, 960 samples each; nine
views give 0.21). What was trained on inputs as they are is asked about those alone: vit by factors
of half its rank loses 1.15 points by all views, 0.1 by the first, and gains 0.2 on the evaluation
split."""

LIKELY = 0.674
"""Standard deviations (of both samplings, this one and the gate's) that a drop is from the most
that the gate can pass: then it passes in three of four draws. What the gate leaves undecided helps
nobody, and the strongest that may pass is asked for, which is the luckiest as well."""


@dataclass(frozen=True)
class Part:
    """Samples with what each belongs to, and FP32's outputs and scores (float [n]) of each view
    that was asked for so far."""

    split: Split
    groups: list[Group]
    answers: list[tuple[Any, Tensor]]


@dataclass(frozen=True)
class Start:
    """FP32 on the CPU, as trials start from it, and on its device, with its answers there."""

    module: nn.Module
    placed: nn.Module
    parts: list[Part]
    few: Part

    @property
    def score(self) -> float:
        return float(torch.cat([part.answers[0][1] for part in self.parts]).mean())


@dataclass(frozen=True)
class Answers:
    """To some samples: scores and what was lost against FP32's (float [views, n]), what each sample
    belongs to, and how alike they are to FP32's as the samples are, with the number of these."""

    scores: Tensor
    lost: Tensor
    groups: list[Group]
    alike: list[tuple[float | None, int]]


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
        calibration = context._split("calibration")
        self.calibration: Samples = (calibration, groups_of("calibration", calibration))
        self.samples_of_a_trial = [self.calibration]
        self.rest: Split | None = None
        try:
            (self.rest, _), held = cut(context.train(), SHARE, context.seed)
        except (Refused, ValueError) as reason:  # none, or too small to cut
            self.told = f"the calibration split: {reason}"
        else:
            self.samples_of_a_trial.insert(0, held)
            self.told = "a fifth of the training split, and the calibration split"
        self.whole = self._start(module, self.samples_of_a_trial)

    def _start(self, module: nn.Module, samples: Sequence[Samples]) -> Start:
        placed = self.asked.baseline_target.place(copy.deepcopy(module).eval())
        few = spread(self.calibration, WHOLE)
        parts = [self._part(placed, one) for one in samples]
        return Start(module, placed, parts, self._part(placed, few))

    def _part(self, baseline: nn.Module, samples: Samples) -> Part:
        count = len(samples[0])
        split, groups = spread(samples, count // WHOLE * WHOLE if count > WHOLE else count)
        part = Part(split, groups, [])
        self._ask(baseline, part, 1)
        return part

    def _ask(self, baseline: nn.Module, part: Part, views: int) -> None:
        """Have FP32 answer so many views, unless it has."""
        for number in range(len(part.answers), views):
            split = view(self.model, part.split, number)
            outputs = self.asked.run(baseline, split, self.asked.baseline_target)
            part.answers.append((outputs, self.model.score(outputs, split, outputs).double()))

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
        return self._trained(self.rest, self.folder, self.samples_of_a_trial)

    @functools.cached_property
    def halves(self) -> list[tuple[Model, Start]]:
        """The model that trains on one half of the training split, and FP32 trained so: judged on
        the other half and the calibration split."""
        one, other = cut(self.context.train(), 0.5, self.context.seed)
        found = []
        for number, (learned, asked) in enumerate(((one, other), (other, one))):
            folder = self.folder.with_name(f"{self.folder.name}-half-{number}")
            start = self._trained(learned[0], folder, [asked, self.calibration])
            found.append((Watched(self.model, learned[0]).model, start))
        return found

    def _trained(self, rest: Split, folder: Path, samples: Sequence[Samples]) -> Start:
        model = Watched(self.model, rest).model
        return self._start(auto_reference.trained(model, self.context.seed, folder), samples)

    def reference(self) -> dict[str, Any] | None:
        """What the second FP32 learned from, what both score, and how often each sample is asked
        about; None where there is none."""
        if self.apart is self.whole or self.rest is None:
            return None
        return {
            "trained_on": len(self.rest),
            "score": self.apart.score,
            "fp32": self.whole.score,
            "views": len(self.apart.parts[0].answers),
        }

    def start(self, cls: str) -> Start:
        """What trials of a class start from and are compared with."""
        return self.whole if cls == "A" else self.apart

    def look(self, call: Callable[..., Any], cls: str) -> tuple[str | None, float | None]:
        """The cheap check: why a few answers are no answers or none like FP32's, or None; and how
        alike they are.

        Far below the limit only: three standard errors of so few samples.
        """
        few = self.start(cls).few
        found = self.asked.run(call, few.split, self.context.target)
        problem, alike = self.asked.alike(few.answers[0][0], found, few.split.labels)
        least = self.asked.fidelity
        if problem or least is None or cls == "C" or alike is None:
            return problem, alike
        slack = 3 * math.sqrt(least * (1 - least) / len(few.split))
        if not alike >= least - slack:
            return f"{alike:.1%} like FP32 on {len(few.split)} samples", alike
        return None, alike

    def judge(
        self, call: Callable[..., Any], cls: str, *, augmented: bool = False
    ) -> dict[str, Any]:
        """score, drop, drop_error (None where samples are too few for it), samples, alike,
        gate_error: the error that the accuracy gate's samples will have; and drop_high: what must
        lie within the drop that is allowed. Score and alike are of the samples as they are.

        augmented: it was trained on inputs that change, and each sample is asked about in VIEWS.
        Raises ValueError for answers of another form, or that are not finite.
        """
        return self._told(self._answers(self.start(cls), call, augmented))

    def judge_again(
        self,
        call: Callable[..., Any],
        make: Callable[[Model, nn.Module], Callable[..., Any]],
        *,
        augmented: bool = False,
    ) -> dict[str, Any]:
        """As `judge`, by more answers of a structure or architecture: also by those of the two that
        are made on either half of the training split, to the other.

        make: makes one from a model that trains on a half, and FP32 trained so, on the CPU. A
        sample that several have answered counts as one in the error.
        """
        found = self._answers(self.apart, call, augmented)
        for model, start in self.halves:
            found += self._answers(start, make(model, copy.deepcopy(start.module)), augmented)
        return self._told(found)

    def moved(self, record: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial loses that adds other numbers to one that was judged again.

        What these change is told by the samples that judge all trials, and what comes before them
        by more. The first finding is kept as `first`, as of a trial that was judged again. What is
        trained once more would lose other answers, and has no part in this.
        """
        first, at_first = earlier["first"], {n: record[n] for n in ("drop", "drop_error")}
        drop = at_first["drop"] + earlier["drop"] - first["drop"]
        own = abs(at_first["drop_error"] ** 2 - first["drop_error"] ** 2)
        error = math.sqrt(own + earlier["drop_error"] ** 2)
        high = _high(drop, error, record["gate_error"], self.asked)
        return {"drop": drop, "drop_error": error, "drop_high": high, "first": at_first}

    def _answers(self, start: Start, call: Callable[..., Any], augmented: bool) -> list[Answers]:
        apart = start is not self.whole and augment_of(self.model) is not None
        views = VIEWS if augmented and apart else 1
        answers = []
        for part in start.parts:
            self._ask(start.placed, part, views)
            scores, lost, like = [], [], []
            for number, (outputs, own) in enumerate(part.answers[:views]):
                split = view(self.model, part.split, number)
                found = self.asked.run(call, split, self.context.target)
                problem, alike = self.asked.alike(outputs, found, split.labels)
                if problem:
                    raise ValueError(problem)
                scores.append(self.model.score(found, split, outputs).double())
                lost.append(own - scores[-1])
                like.append((alike, len(split)))
            told = torch.stack(scores), torch.stack(lost)
            answers.append(Answers(*told, part.groups, like[:1]))
        return answers

    def _told(self, answers: Sequence[Answers]) -> dict[str, Any]:
        lost = torch.cat([one.lost for one in answers], dim=1)
        return {
            "score": float(torch.cat([one.scores[0] for one in answers]).mean()),
            **_drop(lost, [group for one in answers for group in one.groups], self.asked),
            "alike": _joined([like for one in answers for like in one.alike]),
        }


def _drop(lost: Tensor, groups: list[Group], asked: Automatic) -> dict[str, Any]:
    """Mean loss, its standard error by groups, and what it counts for. lost: float [views, n]."""
    count, drop = lost.shape[1], float(lost.mean())
    error = _error(lost.mean(0), groups)
    # The gate asks about each of its samples once.
    once = math.sqrt(statistics.fmean(_error(one, groups) ** 2 for one in lost))
    gate = once * math.sqrt(len(set(groups)) / asked.judged_on) if asked.judged_on else 0.0
    enough = count * asked.max_drop >= LEAST_STEPS
    return {
        "drop": drop,
        "drop_error": error if enough else None,
        "gate_error": gate,
        "drop_high": _high(drop, error, gate, asked) if enough else drop,
        "samples": count,
    }


def _error(lost: Tensor, groups: list[Group]) -> float:
    """The standard error of a mean loss (float [n]) by groups, of at least one sample."""
    sums: dict[Group, float] = {}
    for group, one in zip(groups, lost.tolist(), strict=True):
        sums[group] = sums.get(group, 0.0) + one
    return max(math.sqrt(sum(one**2 for one in sums.values())), 1.0) / len(lost)


def _high(drop: float, error: float, gate: float, asked: Automatic) -> float:
    """The most that a drop counts for.

    One standard error more, or what the accuracy gate, which has samples of its own and adds a
    margin, will make of it.
    """
    return drop + max(error, asked.margin * gate + LIKELY * math.hypot(error, gate))


def _joined(like: list[tuple[float | None, int]]) -> float | None:
    """Over all parts; a lowest cosine is not lower for being averaged with another."""
    known = [(value, count) for value, count in like if value is not None]
    total = sum(count for _, count in known)
    return sum(value * count for value, count in known) / total if known else None


class Watched:
    """A copy of a model whose training split is what the validation left; whether that was asked
    for, and whether inputs were changed as in the model's own training."""

    def __init__(self, model: Model, rest: Split | None) -> None:
        self.asked = self.changed = False
        self.model = copy.copy(model)
        split, augment = model.split, model.augment

        def narrowed(name: str) -> Split:
            if name == "evaluation":
                raise PermissionError("a search does not see the evaluation split")
            if name == "train" and rest is not None:
                self.asked = True
                return rest
            return split(name)

        def watched(inputs: Tensor, generator: torch.Generator) -> Tensor:
            self.changed = True
            return augment(inputs, generator)

        vars(self.model)["split"] = narrowed
        vars(self.model)["augment"] = watched
        vars(self.model)["example"] = model.example
