"""What a module is trained towards: labels, a teacher's soft targets, or a teacher's outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import Batch


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from a teacher's softened classes (Hinton et al., 2015).

    student, teacher: logits, float [n, classes]. Summed over classes, averaged over the batch (a
    mean over classes would weaken it with their number), and times the squared temperature, so
    that gradients keep their size whatever the temperature.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


def distance(student: Any, teacher: list[Tensor]) -> Tensor:
    """Mean squared error as a share of the teacher's variance, averaged over float outputs.

    student: outputs in any structure. teacher: the float tensors of the same structure, in order.
    0 where the outputs are the same, 1 for a constant that is right in the mean. Raises
    ValueError where they differ in number or shape.
    """
    ours, theirs = list(_floats(student)), teacher
    if not ours or [one.shape for one in ours] != [one.shape for one in theirs]:
        raise ValueError(
            f"outputs of {[tuple(one.shape) for one in ours]} cannot be matched with "
            f"{[tuple(one.shape) for one in theirs]}"
        )
    parts = [
        functional.mse_loss(mine, other) / other.var(unbiased=False).clamp(min=1e-12)
        for mine, other in zip(ours, theirs, strict=True)
    ]
    return torch.stack(parts).mean()


class TaskLoss:
    """The loss of one batch of a split.

    Where there are labels (int64 [n]) and the module returns logits (float [n, classes]), it is
    cross-entropy, mixed with the teacher's soft targets where there is a teacher: `alpha` of
    those, the rest of the labels. Anything else is matched to the teacher's outputs (`distance`):
    embeddings, logits without labels, several outputs. Raises ValueError where nothing is left to
    train towards.

    same: a row is the same sample each time, and the teacher is asked about it once.
    """

    def __init__(
        self,
        labels: Tensor | None,
        teacher: nn.Module | None,
        temperature: float,
        alpha: float,
        *,
        same: bool = True,
    ) -> None:
        if temperature <= 0 or not 0 <= alpha <= 1:
            raise ValueError(
                f"temperature must be above 0 and alpha within [0, 1], found {temperature}, {alpha}"
            )
        self.labels = labels
        self.teacher = teacher
        self.temperature = temperature
        self.alpha = alpha
        self.same = same
        self.said: dict[int, list[Tensor]] = {}

    def __call__(self, outputs: Any, batch: Batch, rows: Tensor) -> Tensor:
        """outputs: of the trained module for `batch`, the samples `rows` of the split."""
        said = self._ask(batch, rows)
        if self.labels is None or not is_logits(outputs, self.labels):
            if said is None:
                raise ValueError("without labels and logits, there is only a teacher to match")
            return distance(outputs, said)
        hard = functional.cross_entropy(outputs, self.labels[rows])
        if said is None:
            return hard
        soft = soft_targets(outputs, said[0], self.temperature)
        return self.alpha * soft + (1 - self.alpha) * hard

    def _ask(self, batch: Batch, rows: Tensor) -> list[Tensor] | None:
        """The teacher's float outputs, if it may once a sample: in eval mode it never changes."""
        if self.teacher is None:
            return None
        samples = rows.tolist()
        if all(row in self.said for row in samples):
            each = zip(*(self.said[row] for row in samples), strict=True)
            return [torch.stack(parts) for parts in each]
        args, kwargs = batch
        with torch.no_grad():
            said = list(_floats(self.teacher(*args, **kwargs)))
        if self.same and all(one.dim() and len(one) == len(samples) for one in said):
            for place, row in enumerate(samples):
                self.said[row] = [one[place].clone() for one in said]
        return said


def is_logits(outputs: Any, labels: Tensor) -> bool:
    """Whether outputs are float [n, classes] with a class for each label."""
    return (
        isinstance(outputs, Tensor)
        and outputs.is_floating_point()
        and outputs.dim() == 2
        and labels.dim() == 1
        and outputs.shape[1] > int(labels.max())
    )


def _floats(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        if outputs.is_floating_point():
            yield outputs
    elif isinstance(outputs, dict):
        for value in outputs.values():
            yield from _floats(value)
    elif isinstance(outputs, (tuple, list)):
        for value in outputs:
            yield from _floats(value)
