"""Damage that the mean score hides: answers that depend on the batch, subnormal weights."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from gauge import invariance, subnormals

SMALL = 1e-39
"""Subnormal in FP32, whose smallest normal number is 1.18e-38."""


def run(module: nn.Module, rows: torch.Tensor, size: int) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([module(rows[start : start + size]) for start in range(0, 40, size)])


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


def compared(module: nn.Module, inputs: torch.Tensor) -> float | None:
    together = run(module, inputs, 20)
    picked = invariance.rows(40)
    alone = [module(inputs[row : row + 1]) for row in picked]
    return invariance.difference(together, invariance.replaced(together, alone, picked), picked)


def test_rows_alone_and_in_a_batch_agree(inputs):
    assert compared(nn.Linear(6, 3), inputs) < 1e-6


def test_a_scale_over_the_whole_batch_is_seen(inputs):
    class Dynamic(nn.Module):
        """Rounds its input to 8 bits with one scale for the batch, as dynamic int8 does."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            step = x.abs().max() / 127
            return (x / step).round() * step

    assert compared(Dynamic(), inputs) > 1e-4


def test_nan_for_a_sample_alone_is_no_agreement(inputs):
    class Deviation(nn.Module):
        """The deviation over a batch of one is 0 / 0."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / (x - x.mean(0)).square().mean(0).sqrt()

    assert compared(Deviation(), inputs) is None


def test_rows_are_spread_over_all_samples():
    assert invariance.rows(0) == []
    assert invariance.rows(3) == [0, 1, 2]
    picked = invariance.rows(1000)
    assert (len(picked), picked[0], picked[-1]) == (invariance.SAMPLES, 0, 999)


@pytest.mark.parametrize("odd", [torch.zeros(()), torch.zeros(39, 2)])
def test_outputs_that_are_no_row_a_sample_are_not_compared(odd):
    assert invariance.unfit({"a": torch.zeros(40, 2), "b": odd}, 40) == (
        "output.b does not hold one row a sample"
    )
    assert invariance.unfit({"a": torch.zeros(40, 2)}, 40) is None


def test_only_the_picked_rows_are_replaced():
    together = {"a": torch.zeros(5, 2)}
    mixed = invariance.replaced(together, [{"a": torch.ones(1, 2)}] * 2, [1, 4])
    assert mixed["a"][:, 0].tolist() == [0, 1, 0, 0, 1]
    assert together["a"].sum() == 0


def test_another_shape_for_a_sample_alone_is_told():
    with pytest.raises(ValueError, match="another shape"):
        invariance.replaced(torch.zeros(5, 2), [torch.ones(1, 3)], [1])


def planted(count: int) -> nn.Linear:
    module = nn.Linear(10, 10)
    with torch.no_grad():
        module.weight.fill_(0.5)
        module.weight.view(-1)[:count] = SMALL
        module.bias.zero_()
    return module


def test_subnormal_weights_are_counted(tmp_path):
    assert subnormals.count(planted(0), tmp_path)["count"] == 0
    found = subnormals.count(planted(22), tmp_path)
    assert found == {"count": 22, "of": 110, "share": pytest.approx(0.2), "note": None}


def test_each_number_format_has_its_own_smallest_number():
    value = torch.tensor([3e-5, -1e-6, 0.0, 1.0])
    assert subnormals.subnormal(value) == 0
    assert subnormals.subnormal(value.bfloat16()) == 0
    assert subnormals.subnormal(value.half()) == 2


def test_buffers_count_and_integers_do_not(tmp_path):
    module = nn.BatchNorm1d(4)
    assert subnormals.count(module, tmp_path)["count"] == 0
    module.running_var.fill_(SMALL)
    assert subnormals.count(module, tmp_path)["count"] == 4


def test_subnormal_initializers_of_an_onnx_file_are_counted(tmp_path):
    weights = np.full((3, 3), 0.5, np.float32)
    weights[0] = SMALL
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 3])],
        [helper.make_tensor_value_info("y", 1, ["n", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    assert subnormals.count(None, tmp_path)["count"] == 3


def test_subnormal_constants_of_an_openvino_model_are_counted(tmp_path):
    openvino = pytest.importorskip("openvino")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its tracing is deprecated, and not what this is about
        model = openvino.convert_model(planted(0), example_input=torch.zeros(1, 10))
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    # Its converter flushes them to zero, so they are put into the saved file.
    weights = np.fromfile(tmp_path / "model.bin", np.float32)
    weights[np.flatnonzero(weights == 0.5)[:7]] = SMALL
    weights.tofile(tmp_path / "model.bin")
    found = subnormals.count(None, tmp_path)
    assert found["count"] == 7
    assert found["of"] >= 100


def test_what_cannot_be_read_says_so(tmp_path):
    assert subnormals.count(None, tmp_path) == {
        "count": None,
        "of": None,
        "share": None,
        "note": "its weights cannot be read",
    }
    assert subnormals.count(nn.ReLU(), tmp_path)["note"] == "its weights cannot be read"
