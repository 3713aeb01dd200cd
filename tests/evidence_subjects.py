"""Artifacts that are modules, and what a claim finds in them."""

from __future__ import annotations

import torch
from torch import nn

from gauge import evidence, targets


class Eager:
    """An artifact that is a module."""

    def __init__(self, module):
        self.module = module

    def __call__(self, *args, **kwargs):
        return self.module(*args, **kwargs)


def linears():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()).eval()


def convs():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)).eval()


LINE = torch.linspace(-1, 1, 128).reshape(2, 64)
IMAGE = torch.linspace(-1, 1, 2 * 3 * 12 * 12).reshape(2, 3, 12, 12)


def subject(candidate, baseline, x, directory, target="cpu"):
    chosen = targets.get(target)
    return evidence.Subject(candidate, baseline, chosen.cast(((x,), {})), directory, chosen)


def found(claim, candidate, baseline, x, directory, target="cpu"):
    """(found, text, numbers) of one claim."""
    one = evidence.count([claim], subject(candidate, baseline, x, directory, target))[claim]
    assert one["text"]
    return one["found"], one["text"], one["numbers"]
