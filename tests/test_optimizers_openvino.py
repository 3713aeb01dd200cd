"""OpenVINO's models are called like the module, in FP32 or in int8, with the threads told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from optimizers_models import (
    Images,
    Output,
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
import zoo
from optimizers import artifact, openvino_int8, openvino_model
from optimizers.artifact import ArtifactError
from optimizers.openvino_model import OpenVinoModel

if openvino_model.missing(target(), "nncf"):
    pytest.skip("OpenVINO and NNCF are not installed", allow_module_level=True)

# torch says so of its transformer layers' own fused path, when they are given a padding mask.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")

CELLS = [
    ("test_conv", "openvino"),
    ("test_sentences", "openvino"),
    ("test_words", "openvino"),
    ("test_conv", "openvino_int8"),
    ("test_sentences", "openvino_int8"),
    ("test_last_row", "openvino_int8"),
    ("test_conv", "prune_unstructured:0.5+openvino_int8"),
]


@pytest.mark.parametrize(("name", "technique"), CELLS)
def test_reloaded_artifact_gives_the_same_outputs(name, technique, monkeypatch, tmp_path):
    model = known(name, monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, _ = apply(technique, model, tmp_path, module=module)
    measured = outputs(optimized, model)
    folder = saved(optimized, tmp_path)
    reloaded = artifact.load(folder, target())
    assert type(reloaded) is OpenVinoModel
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6
    assert {file.name for file in folder.iterdir()} == {
        "artifact.json",
        "manifest.json",
        "model.bin",
        "model.xml",
    }
    if technique == "openvino":
        assert largest_difference(measured, outputs(module, model)) < 1e-4
    elif "+" not in technique:
        assert 0 < noise(measured, outputs(module, model)) < 0.02


FRESH = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import optimizers_models as small
import zoo.base
from optimizers import artifact
for name, make in small.MODELS.items():
    zoo.base._registry[name] = make()
folder = Path(sys.argv[1])
optimized = artifact.load(folder / "artifact", small.target())
assert "nncf" not in sys.modules
torch.save(small.outputs(optimized, zoo.get("test_conv")), folder / "outputs.pt")
"""


def test_it_loads_in_a_fresh_process_that_leaves_the_home_folder_alone(monkeypatch, tmp_path, root):
    model = known("test_conv", monkeypatch)
    optimized, _ = apply("openvino_int8", model, tmp_path)
    measured = outputs(optimized, model)
    saved(optimized, tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path)],
        check=True,
        env={
            "PYTHONPATH": f"{root}:{Path(__file__).parent}",
            "OMP_NUM_THREADS": "1",
            "HOME": str(home),
        },
    )
    found = torch.load(tmp_path / "outputs.pt", weights_only=True)
    assert largest_difference(found, measured) <= 1e-6
    assert not (home / "intel").exists()


def test_importing_leaves_the_environment_as_it_was():
    before = dict(os.environ)
    with openvino_model.unreported():
        assert os.environ["CI"] == "true"
    assert dict(os.environ) == before


def test_it_is_told_threads_stream_and_precision(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    optimized, _ = apply("openvino", model, tmp_path)
    outputs(optimized, model)
    asked = optimized.compiled_model.get_property
    assert asked("INFERENCE_NUM_THREADS") == target().threads == 1
    assert asked("NUM_STREAMS") == 1
    assert asked("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_shapes_are_compiled_once_and_old_ones_forgotten(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    optimized, _ = apply("openvino", model, tmp_path)
    for batch in (*range(1, 11), 10):
        optimized(*model.example(batch)[0])
    shapes = [key[0][0][0] for key in optimized._runs]
    assert shapes == list(range(3, 11))
    assert list(optimized.compiled_model.input(0).shape) == [10, 3, 8, 8]


def test_results_do_not_change_with_the_next_call(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    optimized, _ = apply("openvino", model, tmp_path)
    (x,), _ = model.example(3)
    first = optimized(x)
    kept = first.clone()
    optimized(x * 2)
    assert torch.equal(first, kept)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(optimized(turned), kept)


def test_opt_12_a_wrong_argument_is_named(monkeypatch, tmp_path):
    optimized, _ = apply("openvino", known("test_sentences", monkeypatch), tmp_path)
    with pytest.raises(TypeError, match=r"'ids' must be torch\.int64, found torch\.float32"):
        optimized(torch.ones(2, 7), torch.ones(2, 7).long())
    with pytest.raises(TypeError, match="missing arguments: mask"):
        optimized(torch.ones(2, 7).long())


def test_opt_34_nested_outputs_keep_their_structure(monkeypatch, tmp_path):
    def wrap(y, x):
        return {"z": [y, (y * 2, None)], "a": y, "x": x}

    model = known(small("test_output", architecture=lambda: Output(wrap)), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, _ = apply("openvino", model, tmp_path, module=module)
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    (x,), _ = model.example(3)
    with torch.no_grad():
        torch.testing.assert_close(reloaded(x), module(x))


class Labelled(Images):
    """Eight classes of noise around a pattern each, for accuracy control."""

    architecture = staticmethod(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 8)))

    def split(self, name: str) -> zoo.Split:
        seed, rows = {"train": (0, 128), "calibration": (1, 48), "evaluation": (2, 64)}[name]
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(rows) % 8
        pattern = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(9))
        noisy = pattern[labels] + torch.randn(rows, 3, 8, 8, generator=generator)
        return zoo.Split((noisy,), labels)


def test_accuracy_control_validates_on_the_training_split_only(monkeypatch, tmp_path):
    model = known(small("test_labelled", Labelled), monkeypatch)
    asked = []
    monkeypatch.setattr(
        type(model), "split", lambda self, name: asked.append(name) or Labelled.split(self, name)
    )
    example = model.example(3)
    monkeypatch.setattr(type(model), "example", lambda self, batch: _rows(example, batch))
    asked.clear()
    _, (record,) = apply("openvino_int8:true", model, tmp_path)
    assert set(asked) == {"train", "calibration"}
    assert record["notes"]["validation"] == 128


def _rows(example, batch):
    return (example[0][0][torch.arange(batch) % 3],), {}


class Mixing(nn.Module):
    """Attention, which NNCF smooths, over tokens whose columns differ much in size."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 64)
        self.layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(64, 8)
        with torch.no_grad():
            self.layer.norm2.weight[::7] *= 50

    def forward(self, tokens):
        return self.head(self.layer(self.embed(tokens)).mean(1))


class Sequences(Labelled):
    """Its own answers are the labels: what differs from them is lost."""

    def build(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Mixing()

    def split(self, name):
        rows = torch.randn(128, 5, 16, generator=torch.Generator().manual_seed(len(name)))
        with torch.no_grad():
            return zoo.Split((rows,), self.build().eval()(rows).argmax(1))

    def example(self, batch):
        return (torch.ones(batch, 5, 16),), {}


def test_what_accuracy_control_puts_back_computes_what_it_did(monkeypatch, tmp_path):
    model = known(small("test_sequences", Sequences), monkeypatch)
    monkeypatch.setattr(openvino_int8, "_DROP", -1.0)  # One sample of 128 is too much.
    optimized, _ = apply("openvino_int8:true", model, tmp_path)
    split = model.split("evaluation")
    with torch.no_grad():
        expected = model.build().eval()(*split.inputs)
    assert (optimized(*split.inputs) - expected).abs().max() < 0.1 * expected.abs().max()


def test_accuracy_control_without_training_data_is_refused(monkeypatch, tmp_path):
    with pytest.raises(optimizers.Refused, match="test_conv has no train split"):
        apply("openvino_int8:true", known("test_conv", monkeypatch), tmp_path)


@pytest.mark.parametrize("technique", ["openvino", "openvino_int8"])
@pytest.mark.parametrize(
    ("target_name", "sentence"),
    [("cuda", "on the CPU here, not on cuda"), ("bf16_cpu", "nothing|int8 leaves nothing")],
)
def test_other_targets_are_refused(technique, target_name, sentence, monkeypatch):
    import re

    told = optimizers.get(technique).refuses(known("test_conv", monkeypatch), target(target_name))
    assert told is not None
    assert re.search(sentence, told)


def test_an_absent_package_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(openvino_model.importlib.util, "find_spec", lambda name: None)
    for technique in ("openvino", "openvino_int8"):
        told = optimizers.get(technique).refuses(known("test_conv", monkeypatch), target())
        assert told == "openvino is not installed (pip install optgauge[openvino])"


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("artifact.json", lambda path: path.write_text("{}"), r"artifact\.json is not of schema"),
        ("model.bin", lambda path: path.unlink(), r"model\.bin is missing"),
        ("model.xml", lambda path: path.write_text("<net/>"), r"model\.xml cannot be opened"),
    ],
)
def test_opt_09_a_damaged_artifact_is_named(name, damage, sentence, monkeypatch, tmp_path):
    optimized, _ = apply("openvino", known("test_conv", monkeypatch), tmp_path)
    folder = saved(optimized, tmp_path)
    damage(folder / name)
    with pytest.raises(ArtifactError, match=sentence):
        OpenVinoModel.load(folder, target())
    with pytest.raises(ArtifactError, match=r"differs from its SHA-256|is missing"):
        artifact.load(folder, target())


def test_files_hold_no_path_of_this_machine(monkeypatch, tmp_path):
    optimized, _ = apply("openvino_int8", known("test_conv", monkeypatch), tmp_path)
    folder = saved(optimized, tmp_path)
    for file in folder.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
    described = json.loads((folder / "artifact.json").read_text())
    assert described["precision"] == "f32"
