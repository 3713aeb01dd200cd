"""Fewer parameters and fewer multiply-accumulates are counted, not believed."""

from __future__ import annotations

import copy

import pytest
import torch
from evidence_subjects import LINE, Eager, found, linears
from torch import nn


def test_fewer_parameters_and_macs_of_a_smaller_model(tmp_path):
    baseline = linears()
    torch.manual_seed(1)
    small = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU())
    ok, _, numbers = found("fewer_parameters", Eager(small), baseline, LINE, tmp_path)
    assert (ok, numbers["baseline"]) == (True, 2 * (64 * 64 + 64))
    assert numbers["parameters"] == 64 * 32 + 32 + 32 * 64 + 64
    ok, _, numbers = found("fewer_macs", Eager(small), baseline, LINE, tmp_path)
    assert ok
    assert (numbers["macs"], numbers["baseline"]) == (2 * 2 * 64 * 32, 2 * 2 * 64 * 64)


@pytest.mark.parametrize(
    ("layer", "batch", "macs"),
    [
        # Projections of 3 inputs and the output, scores and their product with the values.
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            (2, 5, 8),
            2 * (4 * 5 * 64 + 2 * 25 * 8 + 2 * 5 * 128),
        ),
        # Four gates read 6 inputs and 8 states at each of 5 steps.
        (nn.LSTM(6, 8, batch_first=True), (2, 5, 6), 2 * 5 * 4 * 8 * (6 + 8)),
    ],
)
def test_layers_computed_at_once_are_counted_by_their_products(layer, batch, macs, tmp_path):
    _, _, numbers = found("fewer_macs", Eager(layer.eval()), layer, torch.zeros(batch), tmp_path)
    assert (numbers["macs"], numbers["baseline"]) == (macs, macs)


def test_zeroed_weights_are_neither_fewer_parameters_nor_fewer_macs(tmp_path):
    baseline = linears()
    zeroed = copy.deepcopy(baseline)
    with torch.no_grad():
        zeroed[0].weight.zero_()
    for claim in ("fewer_parameters", "fewer_macs"):
        assert not found(claim, Eager(zeroed), baseline, LINE, tmp_path)[0]
