"""Samples with what each belongs to, which stays the same however a split is cut."""

from __future__ import annotations

import torch

from optimizers.finetune import holdout
from zoo import Split

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
    # Cut alike, numbers of its rows tell which samples are where.
    numbered = Split(inputs={"row": torch.arange(len(split))}, groups=split.groups)
    groups = groups_of("train", split)

    def told(part: Split, numbers: Split) -> Samples:
        rows = numbers.take(torch.arange(len(numbers)))[1]["row"]
        return part, [groups[row] for row in rows.tolist()]

    first, second = map(told, holdout(split, share, seed), holdout(numbered, share, seed))
    return first, second


def spread(samples: Samples, count: int) -> Samples:
    """So many samples, or all there are, spread evenly over those."""
    split, own = samples
    rows = torch.linspace(0, len(split) - 1, min(count, len(split))).round().long()
    args, kwargs = split.take(rows)
    labels = None if split.labels is None else split.labels[rows]
    groups = None if split.groups is None else [split.groups[row] for row in rows.tolist()]
    return Split(kwargs or args, labels, groups), [own[row] for row in rows.tolist()]
