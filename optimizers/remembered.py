"""A teacher that is asked once a sample: what it says does not change from epoch to epoch."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn


class Remembered(nn.Module):
    """Answers like `teacher`, out of memory for samples that it has answered before.

    Samples are told apart by the bytes of their inputs, so it does not matter in which order or
    batches they come; a row must not depend on the others of its batch, which holds in eval mode.
    Only a teacher that returns one tensor with a row a sample is remembered, any other is asked
    every time. Note: asking takes most of the time where the teacher is large; resnet18 costs
    eight times what a step of its student does.
    """

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self._said: dict[bytes, Tensor] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        inputs = [*args, *kwargs.values()]
        if not inputs or not all(isinstance(one, Tensor) for one in inputs):
            return self.teacher(*args, **kwargs)
        keys = _keys(inputs)
        if any(key not in self._said for key in keys):
            said = self.teacher(*args, **kwargs)
            if not isinstance(said, Tensor) or said.dim() == 0 or len(said) != len(keys):
                return said
            # Rows of their own: a view would keep whole batches alive.
            self._said.update(zip(keys, said.detach().clone().unbind(), strict=True))
        return torch.stack([self._said[key] for key in keys])


def _keys(inputs: list[Tensor]) -> list[bytes]:
    """One key a row, over all inputs."""
    rows = zip(*(one.detach().cpu().contiguous().numpy() for one in inputs), strict=True)
    return [hashlib.blake2b(b"".join(part.tobytes() for part in row)).digest() for row in rows]
