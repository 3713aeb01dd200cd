"""The claims of 2:4 sparsity on dense tensors; no GPU is needed to see a pattern."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gauge import evidence, targets

LINE = torch.linspace(-1, 1, 128).reshape(2, 64)


def dense():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)).eval()


class Called:
    def __init__(self, module, label="call"):
        self.module = module
        self.label = label

    def __call__(self, x):
        with torch.profiler.record_function(self.label):
            return self.module(x)


def found(claim, candidate, folder, baseline=None):
    baseline = baseline or dense()
    subject = evidence.Subject(candidate, baseline, ((LINE,), {}), folder, targets.get("cpu"))
    return evidence.count([claim], subject)[claim]


def with_mask(mask):
    module = dense()
    with torch.no_grad():
        module[0].weight.mul_(mask)
    return module


TWO_OF_FOUR = torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(64, 16)


def test_the_pattern_is_found_with_its_share(tmp_path):
    told = found("pattern_2_4", Called(with_mask(TWO_OF_FOUR)), tmp_path)
    assert told["found"]
    assert told["text"] == "2 of 4 in 1 of 2 linear layers, 67% of their weights"


def test_other_zeros_are_no_pattern(tmp_path):
    half = torch.ones(64, 64)
    half[:, :32] = 0  # Half of the weights, in the wrong places.
    one_wrong = TWO_OF_FOUR.clone()
    one_wrong[63, 60:] = 1
    columns = TWO_OF_FOUR.T.contiguous()
    for mask in (torch.ones(64, 64), half, one_wrong, columns, torch.zeros(64, 64)):
        told = found("pattern_2_4", Called(with_mask(mask)), tmp_path)
        assert not told["found"]
        assert told["text"].startswith("not applied: 2 of 4 in 0 of 2")


def test_a_pattern_that_the_baseline_has_is_not_found(tmp_path):
    module = with_mask(TWO_OF_FOUR)
    assert not found("pattern_2_4", Called(module), tmp_path, with_mask(TWO_OF_FOUR))["found"]


def test_a_session_hides_the_pattern(tmp_path):
    told = found("pattern_2_4", SimpleNamespace(session=object()), tmp_path)
    assert not told["found"]
    assert "no torch module" in told["text"]


def test_dense_kernels_are_no_sparse_ones(tmp_path):
    told = found("sparse_kernels", Called(with_mask(TWO_OF_FOUR)), tmp_path)
    assert not told["found"]
    assert told["text"] == "no kernel for 2:4 sparse matrices ran"


@pytest.mark.parametrize("name", ["aten::_cslt_sparse_mm", "aten::_sparse_semi_structured_addmm"])
def test_a_sparse_kernel_in_the_profile_is_found(name, tmp_path):
    # No GPU here: a region of that name stands in for the operator in the profile.
    told = found("sparse_kernels", Called(with_mask(TWO_OF_FOUR), name), tmp_path)
    assert told["found"]
    assert told["text"] == f"ran {name} 1"
