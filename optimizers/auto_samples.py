"""Samples with what each belongs to, which stays the same however a split is cut."""

from __future__ import annotations

import torch
from torch import Tensor

from optimizers.finetune import augment_of, changed, held_out, subset
from zoo import Model, Split

Group = tuple[str, int]
"""Which split, and which group of it, or row where it has none."""

Samples = tuple[Split, list[Group]]


def groups_of(name: str, split: Split) -> list[Group]:
    """What each sample of the split of that name belongs to."""
    own = split.groups if split.groups is not None else range(len(split))
    return [(name, int(group)) for group in own]


def cut(split: Split, share: float, seed: int) -> tuple[Samples, Samples]:
    """The training split without a share of it, and that share.

    Raises ValueError where either would be empty.
    """
    held = held_out(split, share, seed)
    samples = (split, groups_of("train", split))
    first, second = (_at(samples, side.nonzero().flatten()) for side in (~held, held))
    return first, second


def view(model: Model, split: Split, number: int) -> Split:
    """The samples as they are (0), or each changed as the model's training changes it.

    The same number gives the same ones.
    """
    augment = augment_of(model)
    if number == 0 or augment is None:
        return split
    generator = torch.Generator().manual_seed(number)
    # devices=[]: samples are on the CPU. Some draw from torch's own generator all the same.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        (inputs,), _ = changed(split.take(slice(None)), augment, generator)
    return Split((inputs,), split.labels, split.groups)


def spread(samples: Samples, count: int) -> Samples:
    """So many samples, or all there are, spread evenly over those."""
    last = len(samples[0]) - 1
    return _at(samples, torch.linspace(0, last, min(count, last + 1)).round().long())


def _at(samples: Samples, rows: Tensor) -> Samples:
    split, groups = samples
    return subset(split, rows), [groups[row] for row in rows.tolist()]
