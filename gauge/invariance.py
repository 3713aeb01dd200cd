"""Does a sample's answer depend on which others share its batch? It must not.

A scale taken over the whole batch (dynamic quantisation) or statistics of it (batch normalisation
left in training mode) make an answer depend on strangers. Reported, not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gauge import outputs

SAMPLES = 16
"""How many are run alone: enough to see it, and a fraction of a second."""


def rows(n: int) -> list[int]:
    """Which of n samples are run alone, evenly over all."""
    return sorted({int(row) for row in np.linspace(0, n - 1, min(n, SAMPLES))}) if n else []


def unfit(together: Any, n: int) -> str | None:
    """Why outputs of n samples cannot be told apart by sample, or None."""
    for path, tensor in outputs.flatten(together).items():
        if tensor.ndim == 0 or len(tensor) != n:
            return f"{path} does not hold one row a sample"
    return None


def replaced(together: Any, alone: Sequence[Any], picked: Sequence[int]) -> Any:
    """The outputs of all samples with the picked rows taken from the runs of one sample each.

    ValueError where a sample alone has another structure or shape.
    """
    single = outputs.flatten(outputs.join(list(alone)))
    changed = {}
    for path, tensor in outputs.flatten(together).items():
        if path not in single or single[path].shape[1:] != tensor.shape[1:]:
            raise ValueError(f"{path} has another shape for a sample alone")
        changed[path] = tensor.clone()
        changed[path][torch.tensor(picked)] = single[path].to(tensor.dtype)
    return outputs.fill(together, changed)


def difference(together: Any, mixed: Any, picked: Sequence[int]) -> float | None:
    """The largest difference of the picked rows over the largest output; None for NaN in one."""

    def some(value: Any) -> Any:
        return outputs.map_tensors(value, lambda tensor: tensor[torch.tensor(picked)])

    found = outputs.compare(some(together), some(mixed))
    return None if found.problem else found.relative
