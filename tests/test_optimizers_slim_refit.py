"""Units whose work others can do are removed without a trace, labels or training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import zoo
from optimizers import slim_recurrent, slim_refit
from optimizers.slim_attention import SlimAttention, heads
from optimizers.slim_units import neurons


def rows(count: int = 20000, width: int = 8) -> zoo.Split:
    return zoo.Split((torch.randn(count, width, generator=torch.Generator().manual_seed(1)),))


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 5)).eval()


def far(module: nn.Module, other: nn.Module) -> float:
    (x,) = rows(100).inputs
    with torch.no_grad():
        return float((module(x) - other(x)).square().mean() / other(x).var())


def test_copies_of_a_unit_take_its_work_over():
    dense = perceptron()
    with torch.no_grad():
        for layer in (dense[0].weight, dense[0].bias):
            layer[12:] = layer[:12]
    slim = copy.deepcopy(dense)
    group = neurons("between", slim[0], slim[2])
    products = slim_refit.moments(slim, [group], rows())
    gone = torch.arange(12, 24)
    slim_refit.hand_over(group, products["between"], gone)
    group.remove(gone)
    assert slim[2].weight.shape == (5, 12)
    assert far(slim, dense) < 1e-3

    plain = copy.deepcopy(dense)
    neurons("between", plain[0], plain[2]).remove(gone)
    assert far(plain, dense) > 0.1


@pytest.mark.parametrize("count", [2000, 100])
def test_outputs_come_nearer_than_by_cutting_alone(count):
    dense = perceptron()
    gone = torch.arange(12)
    distance = {}
    for how in ("cut", "fitted"):
        slim = copy.deepcopy(dense)
        group = neurons("between", slim[0], slim[2])
        if how == "fitted":
            products = slim_refit.moments(slim, [group], rows(count))
            slim_refit.hand_over(group, products["between"], gone)
        group.remove(gone)
        distance[how] = far(slim, dense)
    assert distance["fitted"] < 0.9 * distance["cut"]


def test_heads_of_several_inputs_each():
    torch.manual_seed(0)
    attention = SlimAttention(16, 4, 4, bias=True).eval()
    (group,) = heads("heads", attention, attention.output)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x)[0]

    train = zoo.Split((torch.randn(32, 6, 16),))
    products = slim_refit.moments(Block(), [group], train)["heads"]
    assert products.total.shape == (16, 16)
    assert products.rows == 32 * 6
    before = attention.output.weight.detach().clone()
    slim_refit.hand_over(group, products, torch.tensor([1]))
    # The columns of the head that goes stay as they were; the others take over.
    assert torch.equal(attention.output.weight[:, 4:8], before[:, 4:8])
    assert not torch.equal(attention.output.weight[:, :4], before[:, :4])
    group.remove(torch.tensor([1]))
    assert attention.output.weight.shape == (16, 12)


def test_units_that_more_than_a_linear_layer_reads_are_only_cut():
    torch.manual_seed(0)
    lstm = nn.Module()
    lstm.lstm = nn.LSTM(8, 12, batch_first=True)
    lstm.head = nn.Linear(12, 3)
    group = slim_recurrent.units(lstm, "lstm", "head")
    assert slim_refit.reader(group) is None
    assert slim_refit.moments(lstm, [group], rows()) == {}
