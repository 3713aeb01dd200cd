"""ExecuTorch programs are called like the module, in FP32 or int8; what gauge reads in them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from optimizers_models import (
    apply,
    known,
    largest_difference,
    noise,
    outputs,
    saved,
    target,
)

import optimizers
import zoo
from gauge import evidence, targets
from optimizers import artifact, executorch_model
from optimizers.artifact import ArtifactError
from optimizers.base import Refused
from optimizers.executorch_model import ExecuTorchModel

WITHOUT = importlib.util.find_spec("executorch") is None
here = pytest.mark.skipif(WITHOUT, reason="ExecuTorch is not installed")

PRETENDED = """
import sys
sys.path.insert(0, sys.argv[1])
import optimizers
import zoo
from gauge import targets
print(optimizers.get("executorch").refuses(zoo.get("digits_mlp"), targets.get("cpu")))
"""


def refusal(technique: str, **attributes: str) -> str | None:
    place = targets.get("cpu")
    for name, value in attributes.items():
        setattr(place, name, value)
    return optimizers.get(technique).refuses(zoo.get("digits_mlp"), place)


@pytest.mark.parametrize("technique", ["executorch", "executorch_int8"])
def test_it_says_what_to_install_or_nothing(technique):
    said = refusal(technique)
    assert said == ("executorch is not installed (pip install optgauge[edge])" if WITHOUT else None)


@pytest.mark.parametrize(
    ("technique", "said"), [("executorch", "FP32"), ("executorch_int8", "half precision")]
)
def test_half_precision_is_refused(technique, said):
    assert said in (refusal(technique, dtype="float16") or "")


def test_a_package_built_for_another_torch_is_refused_with_its_error(tmp_path):
    fake = tmp_path / "executorch" / "runtime"
    fake.mkdir(parents=True)
    (fake.parent / "__init__.py").write_text("")
    (fake / "__init__.py").write_text("raise ImportError('undefined symbol: _ZN2at4_ops')")
    command = [sys.executable, "-c", PRETENDED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        f"executorch does not fit the installed torch {torch.__version__}: undefined symbol"
    )


@here
@pytest.mark.parametrize(
    ("name", "technique"),
    [
        ("test_conv", "executorch"),
        ("test_conv", "executorch_int8"),
        ("test_last_row", "executorch"),
        ("test_conv", "prune_unstructured:0.5+executorch_int8"),
    ],
)
def test_reloaded_artifact_gives_the_same_outputs(name, technique, monkeypatch, tmp_path):
    model = known(name, monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, _ = apply(technique, model, tmp_path, module=module)
    measured = outputs(optimized, model)
    folder = saved(optimized, tmp_path)
    reloaded = artifact.load(folder, target())
    assert type(reloaded) is ExecuTorchModel
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6
    assert {file.name for file in folder.iterdir()} == {
        "artifact.json",
        "manifest.json",
        "model.pte",
    }
    if technique == "executorch":
        assert largest_difference(measured, outputs(module, model)) < 1e-4
    elif "+" not in technique:
        assert 0 < noise(measured, outputs(module, model)) < 0.05


@pytest.fixture(scope="module")
def conv(tmp_path_factory):
    """Artifacts of one model by technique, and the module they were made from."""
    with pytest.MonkeyPatch.context() as patch:
        model = known("test_conv", patch)
        torch.manual_seed(0)
        module = model.build().eval()
        folders = {}
        for technique in ("executorch", "executorch_int8"):
            folder = tmp_path_factory.mktemp(technique)
            folders[technique] = saved(apply(technique, model, folder, module=module)[0], folder)
        yield folders, module, model


@here
def test_more_rows_than_a_program_takes_are_computed_in_parts(conv):
    folders, module, model = conv
    reloaded = artifact.load(folders["executorch"], target())
    rows = model.example(64)[0][0].repeat(2, 1, 1, 1)[:75]
    with torch.inference_mode():
        assert torch.allclose(reloaded(rows), module(rows), atol=1e-5)


def claimed(conv, technique: str, claim: str, folder: Path | None = None):
    folders, module, model = conv
    directory = folder or folders[technique]
    candidate = artifact.load(folders[technique], target())
    subject = evidence.Subject(candidate, module, model.example(4), directory, targets.get("cpu"))
    return evidence.count([claim], subject)[claim]


@here
def test_int8_is_found_in_the_graph_that_xnnpack_is_given(conv):
    found = claimed(conv, "executorch_int8", "integer_kernels")
    assert found["found"], found
    assert found["numbers"] == {
        "kernels": {"Conv2d": 1, "DepthwiseConv2d": 1, "FullyConnected": 1},
        "floating": 0,
    }
    runtime = claimed(conv, "executorch_int8", "runtime")
    assert runtime["numbers"]["formats"] == {"qint8·qcint8": 3}


@here
def test_fp32_layers_are_no_integer_kernels(conv):
    found = claimed(conv, "executorch", "integer_kernels")
    assert not found["found"]
    assert found["text"] == "not applied: 0 of 3 layers with weights in integers"
    # The file decides, not what the candidate is called.
    swapped = claimed(conv, "executorch_int8", "integer_kernels", folder=conv[0]["executorch"])
    assert not swapped["found"]


@here
def test_what_xnnpack_does_not_take_is_told(conv):
    found = claimed(conv, "executorch", "runtime")
    assert found["found"]
    assert found["numbers"]["delegated"] >= 1
    assert found["numbers"]["formats"] == {"fp32·fp32": 3}


@here
def test_a_changed_program_is_not_opened(conv, tmp_path):
    folder = tmp_path / "artifact"
    folder.mkdir()
    for file in conv[0]["executorch"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    content = bytearray((folder / "model.pte").read_bytes())
    content[-1] ^= 1
    (folder / "model.pte").write_bytes(content)
    with pytest.raises(ArtifactError, match="differs from its SHA-256"):
        artifact.load(folder, target())


@here
def test_a_torn_program_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "model.pte"
    file.write_bytes(b"\0" * 64)
    with pytest.raises(ArtifactError, match=r"model\.pte cannot be opened"):
        executorch_model.open_program(file, 1)


@here
def test_a_description_that_does_not_say_how_rows_lie_is_an_error(conv, tmp_path):
    folder = tmp_path / "artifact"
    folder.mkdir()
    for file in conv[0]["executorch"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    told = json.loads((folder / "artifact.json").read_text())
    told["rows"] = {"columns": []}
    (folder / "artifact.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="does not say how rows lie"):
        ExecuTorchModel.load(folder, target())


@here
def test_a_model_without_layers_to_quantise_is_refused(monkeypatch, tmp_path):
    from torch import nn

    model = known("test_conv", monkeypatch)
    monkeypatch.setattr(type(model), "build", lambda self: nn.Sequential(nn.ReLU(), nn.Flatten()))
    with pytest.raises(Refused, match="no Linear or convolution to quantise"):
        apply("executorch_int8", model, tmp_path)


@here
def test_threads_are_those_of_the_target(conv):
    from executorch.extension.pybindings import portable_lib

    place = target()
    for threads in (2, 1):
        place.threads = threads
        artifact.load(conv[0]["executorch"], place)
        assert portable_lib._threadpool_get_thread_count() == threads
