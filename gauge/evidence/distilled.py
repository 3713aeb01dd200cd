"""The claim `distilled`: another architecture, that learned from the baseline's own outputs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gauge.evidence.base import Finding, Subject, claim, noted, plain_floats
from gauge.outputs import flatten, fresh, map_tensors

FARTHEST = 0.5
"""Largest divergence from the teacher, as a share of what knowing nothing of it gives."""


@claim("distilled")
def distilled(subject: Subject) -> Finding:
    """No layer of the baseline's is left, and its softened answers are followed.

    Counted by gauge: weights taken over from the baseline, and the Kullback-Leibler divergence of
    the softened outputs from the baseline's, as a share of that of a uniform answer. The record of
    the training (`artifact.json`) must name the baseline as the teacher, by its hash, and hold a
    loss check within 0.5 to 2. How much the teacher helped cannot be seen in one artifact: that
    needs the same student without it.
    """
    record = _record(subject)
    if subject.module is None or record is None:
        return Finding(False, "the artifact holds no record of a distillation", {"opaque": True})
    taught_at = float(record["temperature"])
    share = divergence(subject, taught_at)
    taken = _taken_over(subject.module, subject.baseline)
    numbers = {"divergence": share, "temperature": taught_at, "taken_over": taken}
    problems = [] if share <= FARTHEST else ["does not follow the baseline"]
    if taken:
        problems.append(f"{taken} weights are the baseline's own")
    problems += _disagreements(record, subject, numbers)
    text = f"{share:.1%} of a uniform answer's divergence from the baseline at T = {taught_at:g}"
    if problems:
        return Finding(False, f"{'; '.join(problems)}: {text}", numbers)
    teacher = "the baseline, bit by bit" if record["first"] else "what earlier stages made of it"
    return Finding(True, f"{text}; the teacher in its record is {teacher}", numbers)


def divergence(subject: Subject, temperature: float) -> float:
    """KL of the candidate's softened outputs from the baseline's over KL of uniform ones."""
    args, kwargs = map_tensors(fresh(subject.baseline_batch or subject.batch), plain_floats)
    with torch.inference_mode():
        teacher = flatten(subject.baseline(*args, **kwargs))
    student = flatten(subject.run())
    apart, ignorant = 0.0, 0.0
    for path, said in teacher.items():
        found = student.get(path)
        if found is None or found.shape != said.shape or not said.is_floating_point():
            return math.inf
        ours = _soften(found, temperature)
        theirs = _soften(said, temperature)
        apart += float((theirs.exp() * (theirs - ours)).sum())
        ignorant += float((theirs.exp() * (theirs + math.log(said.shape[-1]))).sum())
    share = apart / ignorant if ignorant > 0 else math.inf
    return share if math.isfinite(share) else math.inf


def _soften(logits: Tensor, temperature: float) -> Tensor:
    return (logits.detach().cpu().double() / temperature).log_softmax(-1)


def _taken_over(module: nn.Module, baseline: nn.Module) -> int:
    """How many weight matrices are bit-identical to one of the baseline's."""
    known = {one for _, one in _hashes(baseline)}
    return sum(found in known for _, found in _hashes(module))


def _hashes(module: nn.Module) -> Iterator[tuple[str, str]]:
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor) and value.dim() >= 2 and not value.is_quantized:
            yield name, hashlib.sha256(_bytes(value)).hexdigest()


def _bytes(value: Tensor) -> bytes:
    plain = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    return bytes(plain.numpy().tobytes())


def teacher_hash(module: nn.Module) -> str:
    """SHA-256 over the names and bytes of a state dict: weights and statistics."""
    total = hashlib.sha256()
    for name, value in module.state_dict().items():
        total.update(name.encode())
        if isinstance(value, Tensor):
            total.update(_bytes(value))
    return total.hexdigest()


def _record(subject: Subject) -> dict[str, Any] | None:
    """Notes and params of the stage that taught, from the artifact's own description."""
    found = noted(subject, "teacher", "loss_check")
    return found and {**found["params"], **found["notes"], "first": found["first"]}


def _disagreements(record: dict[str, Any], subject: Subject, numbers: dict[str, Any]) -> list[str]:
    """What the record says that gauge finds otherwise."""
    problems = []
    if record["first"]:
        # A later stage's teacher is what the stages before made of the baseline.
        numbers["teacher_is_baseline"] = record["teacher"] == teacher_hash(subject.baseline)
        if not numbers["teacher_is_baseline"]:
            problems.append("the teacher in the record is not the baseline")
    numbers["loss_check"] = record["loss_check"]
    wrong = [name for name, one in record["loss_check"].items() if not 0.5 <= one <= 2]
    if wrong or not record["loss_check"]:
        problems.append(f"the loss check in the record failed ({', '.join(wrong) or 'empty'})")
    return problems
