"""TensorRT through onnxruntime: what can be held to without a GPU."""

from __future__ import annotations

import dataclasses
import json

import pytest
from optimizers_models import apply, known, saved, target

import optimizers
from gauge.evidence import tensorrt
from optimizers.artifact import ArtifactError
from optimizers.described import DESCRIPTION
from optimizers.onnx_model import OnnxModel


@pytest.fixture
def exported(monkeypatch, tmp_path):
    model = known("test_linear", monkeypatch)
    optimized, _ = apply("onnxruntime", model, tmp_path)
    return model, optimized, saved(optimized, tmp_path)


def test_it_is_refused_where_there_is_no_gpu_and_where_there_is_no_provider(monkeypatch):
    technique, model = optimizers.get("tensorrt"), known("test_linear", monkeypatch)
    assert technique.refuses(model, target()) == (
        "TensorRT computes on NVIDIA GPUs only, not on cpu"
    )

    @dataclasses.dataclass
    class Gpu:
        device: str = "cuda"

    assert "has no TensorrtExecutionProvider (pip install tensorrt)" in technique.refuses(
        model, Gpu()
    )


def test_the_profile_tells_which_provider_ran_the_nodes(exported):
    model, optimized, folder = exported
    (path,) = folder.glob("*.onnx")
    feeds = optimized.feeds(model.example(2))
    ran = tensorrt.nodes_by_provider(path, ["CPUExecutionProvider"], feeds)
    assert set(ran) == {"CPUExecutionProvider"}
    assert ran["CPUExecutionProvider"] >= 1


def test_a_session_elsewhere_is_told_from_tensorrt(exported):
    from gauge import evidence

    model, optimized, folder = exported
    subject = evidence.Subject(optimized, None, model.example(2), folder, target())
    found = tensorrt.tensorrt(subject)
    assert not found.found
    assert found.text == "runs on CPUExecutionProvider, not on TensorrtExecutionProvider"


def test_a_file_cannot_ask_for_any_provider(exported):
    _, _, folder = exported
    path = folder / DESCRIPTION
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "provider": "MadeUpProvider"}))
    with pytest.raises(ArtifactError, match="asks for 'MadeUpProvider'"):
        OnnxModel.load(folder, target())
