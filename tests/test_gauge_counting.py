"""Multiply-accumulates and elements moved, against what layers of known sizes take."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gauge import counting


def counted(module: nn.Module, *shape: int) -> counting.Work:
    return counting.work(module.eval(), ((torch.zeros(*shape),), {}))


@pytest.mark.parametrize(
    ("module", "shape", "macs", "weights", "activations"),
    [
        (nn.Linear(64, 32), (5, 64), 5 * 64 * 32, 64 * 32 + 32, 5 * (64 + 32)),
        (
            nn.Conv2d(3, 8, 3, bias=False),
            (2, 3, 10, 10),
            2 * 8 * 64 * 27,
            8 * 27,
            2 * (300 + 8 * 64),
        ),
        # Four gates a step, from the input and from the state, at each of seven steps.
        (nn.LSTM(4, 6, batch_first=True, bias=False), (1, 7, 4), 7 * 4 * 6 * (4 + 6), None, None),
    ],
)
def test_layers_of_known_size(module, shape, macs, weights, activations):
    found = counted(module, *shape)
    assert found.macs == macs
    assert found.parameters == sum(one.numel() for one in module.parameters())
    if weights is not None:
        assert (found.weights, found.activations) == (weights, activations)


def test_weights_count_once_a_call_however_often_they_are_read():
    layer = nn.Linear(16, 16, bias=False)
    found = counted(nn.Sequential(layer, layer, layer), 1, 16)
    assert found.macs == 3 * 256
    assert found.weights == found.parameters == 256
    assert found.activations == 3 * 32


def test_what_multiplies_nothing_moves_nothing():
    assert counted(nn.Sequential(nn.ReLU(), nn.Flatten()), 2, 3, 4).activations == 0


def test_bytes_follow_the_format():
    work = counting.Work(parameters=10, macs=100, weights=10, activations=40)
    assert work.traffic(4, 4) == 200
    assert work.traffic(1, 4) == 170
