"""Renewed BatchNorm statistics are those of the data, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from optimizers import statistics


@pytest.mark.parametrize("rows", [30, 50, 51, 100, 101])
def test_statistics_are_the_mean_of_the_batches(rows):
    torch.manual_seed(0)
    data = torch.randn(rows, 4) * 3 + 5
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4, momentum=0.01)).train()
    weight = module[1].weight.clone()
    assert statistics.renew(module, zoo.Split((data,))) == 1
    assert not any(one.training for one in module.modules())
    assert module[1].momentum == 0.01
    assert torch.equal(module[1].weight, weight)
    torch.testing.assert_close(module[1].running_mean, data.mean(0), rtol=0.1, atol=0.1)
    torch.testing.assert_close(module[1].running_var, data.var(0), rtol=0.3, atol=0.3)


def test_a_module_without_them_is_left_alone():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False))
    assert statistics.renew(module.eval(), zoo.Split((torch.randn(9, 4),))) == 0
