"""The layer that adds the noise is named, by every technique that rounds (OPT-03)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from optimizers_models import ConvNet, Images, apply, known, small
from torch import nn

from optimizers import layer_noise
from optimizers.layer_noise import Passage, added


class Skewed(nn.Module):
    """A classifier whose 16 features pass through as they are but the first, 3,000 times as large.

    `head` undoes that with a weight as much smaller: in FP32 nothing changes, and a scale for the
    whole activation leaves the other fifteen no steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = ConvNet()
        self.spread = nn.Linear(4, 16)
        self.harmless = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)
        with torch.no_grad():
            self.harmless.weight[0] *= 3000
            self.harmless.bias[0] *= 3000
            self.head.weight[:, 0] /= 3000

    def forward(self, pixels):
        return self.head(self.harmless(self.spread(self.body(pixels))))


@pytest.fixture
def skewed(monkeypatch):
    return known(small("test_skewed_head", Images, Skewed), monkeypatch)


@pytest.mark.parametrize(
    "technique",
    [
        "dynamic_int8",
        "onnxruntime_int8",
        "onnxruntime_dynamic_int8",
        "static_int8_fx",
    ],
)
def test_the_layer_behind_the_extreme_channel_is_named(technique, skewed, tmp_path):
    torch.manual_seed(0)
    module = skewed.build().eval()
    _, (record,) = apply(technique, skewed, tmp_path, module=module)
    told = record["notes"]["noise"]
    (worst, (before, after)), *others = told.items()
    heads = {name for name, both in told.items() if both[1] == min(one[1] for one in told.values())}
    assert worst in heads
    assert before > after + 20
    assert after < 15
    assert all(one[1] > after for _, one in others)


def test_noise_that_is_handed_on_is_not_counted_again():
    torch.manual_seed(0)
    clean, noise = torch.randn(4, 100), torch.randn(4, 100)
    exact = {name: Passage(clean, clean) for name in "abc"}
    rounded = {
        "a": Passage(clean, clean + 0.01 * noise),
        "b": Passage(clean + 0.01 * noise, clean + 0.3 * noise),
        "c": Passage(clean + 0.3 * noise, clean + 0.3 * noise),
    }
    found = added(exact, rounded)
    assert list(found) == ["b", "a", "c"]
    assert found["a"][0] == 200
    assert found["b"] == pytest.approx([40, 10.5], abs=1.5)


def test_layers_of_one_side_or_of_another_shape_are_left_out():
    one, other = torch.ones(2, 3), torch.ones(2, 4)
    exact = {"a": Passage(one, one), "b": Passage(one, one), "only": Passage(one, one)}
    assert list(added(exact, {"a": Passage(one, one), "b": Passage(one, other)})) == ["a"]


@given(
    some.lists(some.floats(allow_nan=True, allow_infinity=True, width=32), min_size=4, max_size=4)
)
def test_whatever_a_layer_gives_the_levels_are_finite_and_bounded(values):
    exact = Passage(torch.ones(4), torch.ones(4))
    (levels,) = added({"a": exact}, {"a": Passage(torch.ones(4), torch.tensor(values))}).values()
    assert all(-200 <= one <= 200 for one in levels)


def test_a_layer_that_works_in_place_is_told_by_what_it_gave():
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    with torch.no_grad():
        module[0].weight.copy_(-torch.eye(2))
        module[0].bias.zero_()
    found = layer_noise.of_module(module, ((torch.ones(1, 2),), {}))
    assert found["0"].result.tolist() == [[-1, -1]]
    assert found["1"].result.tolist() == [[0, 0]]
