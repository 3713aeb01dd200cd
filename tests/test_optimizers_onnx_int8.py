"""int8 in ONNX Runtime: granularity, layers left in FP32 by measured sensitivity, dynamic int8."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import helper
from optimizers_models import (
    ConvNet,
    Images,
    apply,
    known,
    largest_difference,
    noise,
    outputs,
    saved,
    small,
    target,
)
from torch import nn

import optimizers
from gauge import evidence
from optimizers import Refused, artifact, onnx_sensitivity
from optimizers.onnx_sensitivity import Layer

# torch says so of its transformer layers' own fused path, when they are given a padding mask.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def claims(optimized, module, model, folder):
    batch = target().cast(model.example(3))
    subject = evidence.Subject(optimized, module, batch, folder, target())
    return evidence.count(["runtime", "integer_kernels"], subject)


@pytest.mark.parametrize("name", ["test_linear", "test_last_row", "test_sentences"])
def test_dynamic_int8_computes_in_integers_and_reloads(name, monkeypatch, tmp_path):
    model = known(name, monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, (record,) = apply("onnxruntime_dynamic_int8", model, tmp_path, module=module)
    measured = outputs(optimized, model)
    assert 0 < noise(measured, outputs(module, model)) < 0.02
    folder = saved(optimized, tmp_path)
    reloaded = artifact.load(folder, target())
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6
    told = claims(reloaded, module, model, folder)
    assert all(one["found"] for one in told.values()), told
    assert record["notes"]["layers"] >= 1


def test_dynamic_int8_leaves_convolutions_alone_and_says_so(monkeypatch, tmp_path):
    model = known(small("test_convs", Images, lambda: nn.Conv2d(3, 16, 3)), monkeypatch)
    with pytest.raises(Refused, match="no Linear or LSTM layer to quantise in test_convs"):
        apply("onnxruntime_dynamic_int8", model, tmp_path)


@pytest.mark.parametrize(
    ("target_name", "sentence"),
    [
        ("cuda", "int8 kernels are CPU only"),
        ("bf16_cpu", "int8 leaves nothing in half precision"),
    ],
)
def test_dynamic_int8_is_refused_elsewhere(target_name, sentence, monkeypatch):
    model = known("test_linear", monkeypatch)
    technique = optimizers.get("onnxruntime_dynamic_int8")
    assert technique.refuses(model, target(target_name)) == sentence


@pytest.mark.parametrize(("granularity", "sizes"), [("channel", [16]), ("tensor", [])])
def test_granularity_gives_weights_one_scale_or_many(granularity, sizes, monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    optimized, _ = apply(f"onnxruntime_int8:{granularity}", model, tmp_path)
    scales = {
        tuple(one.dims)
        for one in onnx.load(optimized.path).graph.initializer
        if one.name.endswith("weight_scale")
    }
    assert tuple(sizes) in scales
    if granularity == "tensor":
        assert scales == {()}


def test_a_word_that_is_no_choice_is_an_error(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="granularity must be channel or tensor, found row"):
        apply("onnxruntime_int8:row", known("test_conv", monkeypatch), tmp_path)


class Skewed(ConvNet):
    """One convolution whose input has a channel a thousand times the others' (OPT-03).

    What follows gives that channel a weight as much smaller: in FP32 the result is the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(16, 16, 1)
        self.after = nn.Conv2d(16, 16, 1)
        with torch.no_grad():
            self.before.weight[0] *= 3000
            self.before.bias[0] *= 3000
            self.after.weight[:, 0] /= 3000

    def forward(self, pixels):
        return self.head(self.after(self.before(self.stem(pixels))).mean((2, 3)))


def test_opt_03_the_layer_that_does_the_damage_is_named_and_left_in_fp32(monkeypatch, tmp_path):
    model = known(small("test_skewed", Images, Skewed), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    expected = outputs(module, model)
    (tmp_path / "all").mkdir()
    plain, _ = apply("onnxruntime_int8", model, tmp_path / "all", module=module)
    optimized, (record,) = apply("onnxruntime_int8:channel:auto", model, tmp_path, module=module)
    told = record["notes"]
    collapsed = outputs(plain, model)
    assert collapsed[32].std(0).max() < 1e-3  # one answer for every input
    assert noise(collapsed, expected) > 0.02
    assert noise(outputs(optimized, model), expected) < 0.002
    # The worst first: the convolution that reads the skewed activation.
    worst, second = list(told["sensitivity"].values())[:2]
    assert worst < 20
    assert worst < second
    assert told["kept"][0] == next(iter(told["sensitivity"]))
    assert len(told["kept"]) < len(told["sensitivity"])
    assert told["sqnr"]["all_int8"] < told["sqnr"]["kept"]
    folder = saved(optimized, tmp_path)
    assert claims(optimized, module, model, folder)["integer_kernels"]["found"]


def test_what_is_kept_is_the_same_in_every_run(monkeypatch, tmp_path):
    model = known(small("test_skewed", Images, Skewed), monkeypatch)
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _, (record,) = apply("onnxruntime_int8:channel:auto", model, tmp_path / name)
        found.append(record["notes"])
    assert found[0] == found[1]


def test_as_few_layers_as_reach_the_target_are_kept():
    ranked = [Layer(name, None) for name in "abcdef"]
    calls = []

    def measure(only, exclude):
        calls.append(len(exclude))
        return 10.0 * len(exclude)

    kept, reached = onnx_sensitivity.fewest(ranked, measure, 30.0)
    assert [layer.name for layer in kept] == ["a", "b", "c"]
    assert reached == 30.0
    assert len(calls) <= 4
    kept, reached = onnx_sensitivity.fewest(ranked, measure, 1000.0)
    assert len(kept) == 5
    assert reached == 50.0
    assert onnx_sensitivity.fewest(ranked, lambda only, exclude: 99.0, 30.0)[0] == []


def test_a_layer_is_taken_with_the_activation_that_is_fused_into_it():
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["x", "w"], ["a"], "first"),
            node("Clip", ["a"], ["b"], "clip"),
            node("Conv", ["b", "w"], ["c"], "second"),
            node("Relu", ["c"], ["d"], "relu"),
            node("Add", ["c", "d"], ["e"], "sum"),
            node("MatMul", ["e", "d"], ["y"], "scores"),
        ],
        "g",
        [],
        [],
        [helper.make_tensor("w", 1, [1], [1.0])],
    )
    found = onnx_sensitivity.layers(graph, ("Conv", "MatMul"))
    assert found == [Layer("first", "clip"), Layer("second", None)]


def test_decibels():
    one = [torch.ones(4)]
    assert onnx_sensitivity.sqnr(one, [torch.full((4,), 1.1)]) == pytest.approx(20, abs=1e-3)
    assert onnx_sensitivity.sqnr(one, one) == 200
    assert onnx_sensitivity.sqnr(one, [torch.full((4,), torch.nan)]) == -200
