"""What gauge sees of an OpenVINO artifact; models are made here with openvino and nncf."""

from __future__ import annotations

import logging
import os
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gauge import evidence, targets

CLAIMS = ("runtime", "integer_kernels")
IMAGE = torch.linspace(-1, 1, 2 * 3 * 12 * 12).reshape(2, 3, 12, 12)


@pytest.fixture(scope="module")
def openvino():
    with pytest.MonkeyPatch.context() as patch:
        # Both report their use, and write into the home folder, unless told that this is CI.
        patch.setenv("CI", "true")
        patch.setenv("NNCF_CI", "true")
        found = pytest.importorskip("openvino", reason="OpenVINO is not installed")
        pytest.importorskip("nncf", reason="NNCF is not installed")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return found


def convs():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.LayerNorm(8))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def model(openvino, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(convs(), (IMAGE,), path, dynamo=False, input_names=["x"])
    return openvino.Core().read_model(path)


def candidate(openvino, model):
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def call(x):
        return torch.from_numpy(compiled(x.numpy())[0].copy())

    call.compiled_model = compiled
    return call


def found(claim, call, tmp_path, target="cpu"):
    subject = evidence.Subject(call, convs(), ((IMAGE,), {}), tmp_path, targets.get(target))
    one = evidence.count([claim], subject)[claim]
    return one["found"], one["text"], one["numbers"]


def test_fp32_runs_in_openvino_and_holds_no_integers(openvino, model, tmp_path):
    call = candidate(openvino, model)
    ok, text, numbers = found("runtime", call, tmp_path)
    assert ok
    assert numbers["devices"] == ["CPU"]
    assert numbers["precisions"] == {"f32": 2}, text
    ok, text, _ = found("integer_kernels", call, tmp_path)
    assert not ok
    assert text == "not applied: 0 of 2 layers with weights in integers"


def _quantised(model, **settings):
    import nncf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydot's, inside of nncf
        return nncf.quantize(model.clone(), nncf.Dataset([IMAGE.numpy()]), **settings)


def test_integers_are_counted_in_the_graph_that_runs(openvino, model, tmp_path):
    ok, text, numbers = found("integer_kernels", candidate(openvino, _quantised(model)), tmp_path)
    assert ok
    assert numbers == {"kernels": {"Convolution": 2}, "floating": 0}
    assert text == "2 of 2 layers with weights in integers (2 Convolution)"


def test_layers_left_in_fp32_are_told(openvino, model, tmp_path):
    import nncf

    first = next(op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution")
    scope = nncf.IgnoredScope(names=[first.get_friendly_name()])
    call = candidate(openvino, _quantised(model, ignored_scope=scope))
    ok, text, _ = found("integer_kernels", call, tmp_path)
    assert ok
    assert text.startswith("1 of 2 layers")


def test_the_cpu_does_not_pass_for_another_device(openvino, model, tmp_path):
    ok, text, _ = found("runtime", candidate(openvino, model), tmp_path, "cuda")
    assert not ok
    assert text == "asked for CUDA, runs on CPU"


@pytest.mark.parametrize("claim", CLAIMS)
def test_an_artifact_that_computes_in_eager_torch_has_neither(claim, tmp_path):
    eager = SimpleNamespace(module=convs())
    assert not found(claim, lambda x: eager.module(x), tmp_path)[0]


def test_environment_is_as_it_was(openvino):
    assert "NNCF_CI" not in os.environ
