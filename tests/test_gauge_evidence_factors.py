"""The claim `low_rank` on layers that really have one, and on those that only look so."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gauge import evidence, targets

LINE = torch.linspace(-1, 1, 128).reshape(2, 64)


def dense():
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 4)]
    return nn.Sequential(*layers).eval()


def factors(inputs, outputs, rank, bias=False):
    return nn.Sequential(nn.Linear(inputs, rank, bias=bias), nn.Linear(rank, outputs))


def found(module, baseline, folder):
    one = evidence.Subject(
        SimpleNamespace(module=module), baseline, ((LINE,), {}), folder, targets.get("cpu")
    )
    return evidence.count(["low_rank"], one)["low_rank"]


def with_first(layer):
    module = copy.deepcopy(dense())
    module[0] = layer
    return module


def test_factors_are_counted_with_their_rank(tmp_path):
    told = found(with_first(factors(64, 64, 16)), dense(), tmp_path)
    assert told["found"]
    assert told["text"] == "1 layers factorised: 25% of their rank, 2,048 of 4,096 weights"
    assert told["numbers"]["ranks"] == [("0", 16, 64)]
    assert told["numbers"]["of"] == 3


def test_a_convolution_of_one_pixel_is_a_matrix_too(tmp_path):
    torch.manual_seed(0)
    baseline = nn.Sequential(nn.Conv2d(32, 64, 1, stride=2), nn.Conv2d(64, 8, 3))
    module = copy.deepcopy(baseline)
    module[0] = nn.Sequential(nn.Conv2d(32, 8, 1, stride=2, bias=False), nn.Conv2d(8, 64, 1))
    told = found(module, baseline, tmp_path)
    assert told["found"]
    assert told["numbers"]["ranks"] == [("0", 8, 32)]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Linear(64, 64), "not applied: 0 of 3 layers factorised"),
        # No lower rank, and more weights than before.
        (factors(64, 64, 64), "0 has rank 64 of 64"),
        # A rank that saves nothing: 40 of 64 take 5,120 weights instead of 4,096.
        (factors(64, 64, 40), "0 has rank 40 of 64"),
        # A bias between them: not one matrix.
        (factors(64, 64, 16, bias=True), "not applied: 0 of 3 layers factorised"),
    ],
)
def test_what_only_looks_like_factors_is_not_found(layer, text, tmp_path):
    told = found(with_first(layer), dense(), tmp_path)
    assert not told["found"]
    assert text in told["text"]


def test_a_matrix_of_low_rank_that_was_not_factorised_is_not_found(tmp_path):
    module = dense()
    with torch.no_grad():
        module[0].weight[8:] = module[0].weight[:1]
    assert not found(module, dense(), tmp_path)["found"]


def test_factors_that_the_baseline_has_too_are_not_found(tmp_path):
    module = with_first(factors(64, 64, 16))
    assert not found(module, copy.deepcopy(module), tmp_path)["found"]


def test_half_precision_does_not_hide_the_rank(tmp_path):
    told = found(with_first(factors(64, 64, 16)).half(), dense(), tmp_path)
    assert told["numbers"]["ranks"] == [("0", 16, 64)]


def test_a_session_hides_them(tmp_path):
    told = found(None, dense(), tmp_path)
    assert not told["found"]
    assert "no torch module" in told["text"]
