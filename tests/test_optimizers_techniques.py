"""Each technique, from a module to an artifact that is opened again and does the same."""

from __future__ import annotations

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
    outputs,
    saved,
    small,
    target,
)
from torch import nn

import optimizers
from optimizers import Refused, artifact

# torch says so of its transformer layers' own fused path, when they are given a padding mask.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")

ALL = ["test_conv", "test_rows", "test_sentences", "test_words", "test_linear"]
CELLS = [
    *((model, "none") for model in ALL),
    ("test_conv", "channels_last"),
    *((model, "dynamic_int8") for model in ALL),
    *((model, "prune_unstructured:0.5") for model in ALL),
    ("test_linear", "onnxruntime"),
    ("test_last_row", "onnxruntime_int8"),
    ("test_words", "onnxruntime_int8"),
    ("test_conv", "channels_last+prune_unstructured:0.9+dynamic_int8"),
    ("test_conv", "prune_unstructured:0.5+onnxruntime_int8"),
]
# How far from FP32 random weights may come out; int8 and pruning are judged on trained ones.
CLOSE = {"none": 0, "channels_last": 1e-5, "onnxruntime": 1e-4, "dynamic_int8": 0.1}


@pytest.mark.parametrize(("model_name", "technique"), CELLS)
def test_reloaded_artifact_gives_the_same_outputs(model_name, technique, monkeypatch, tmp_path):
    model = known(model_name, monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()

    optimized, records = apply(technique, model, tmp_path, module=module)
    measured = outputs(optimized, model)
    reloaded = artifact.load(saved(optimized, tmp_path), target())

    assert type(reloaded) is type(optimized)
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6
    assert [record["technique"] for record in records] == [
        part.partition(":")[0] for part in technique.split("+")
    ]
    assert all(record["seconds"] > 0 for record in records)
    expected = outputs(module, model)
    assert largest_difference(measured, expected) <= CLOSE.get(technique, 2)
    if technique not in ("none", "channels_last", "onnxruntime"):
        assert largest_difference(measured, expected) > 0


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
for folder in map(Path, sys.argv[1:]):
    model = zoo.get(folder.name.partition("-")[0])
    optimized = artifact.load(folder / "artifact", small.target())
    torch.save(small.outputs(optimized, model), folder / "outputs.pt")
"""


def test_artifacts_load_in_a_fresh_process(monkeypatch, tmp_path, root):
    cells = [
        ("test_rows", "dynamic_int8"),
        ("test_words", "prune_unstructured:0.9"),
        ("test_conv", "channels_last"),
        ("test_sentences", "onnxruntime"),
        ("test_conv", "onnxruntime_int8"),
    ]
    measured = {}
    for model_name, technique in cells:
        folder = tmp_path / f"{model_name}-{technique.partition(':')[0]}"
        folder.mkdir()
        model = known(model_name, monkeypatch)
        optimized, _ = apply(technique, model, folder)
        measured[folder] = outputs(optimized, model)
        saved(optimized, folder)

    subprocess.run(
        [sys.executable, "-c", FRESH, *map(str, measured)],
        check=True,
        env={"PYTHONPATH": f"{root}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"},
    )

    for folder, expected in measured.items():
        found = torch.load(folder / "outputs.pt", weights_only=True)
        assert largest_difference(found, expected) <= 1e-6, folder.name


def test_every_technique_is_found_and_declared():
    assert set(optimizers.names()) >= {
        "none",
        "dynamic_int8",
        "channels_last",
        "onnxruntime",
        "onnxruntime_int8",
        "prune_unstructured",
    }
    for name in optimizers.names():
        technique = optimizers.get(name)
        assert technique.family, name
        assert technique.claims or technique.suite == "training", name
        assert technique.changes in ("numerics", "structure", "architecture")


@pytest.mark.parametrize(
    ("technique", "target_name", "claims"),
    [
        ("none", "cpu", ("unchanged",)),
        ("none", "bf16_cpu", ("half",)),
        ("dynamic_int8", "cpu", ("integer_kernels",)),
    ],
)
def test_claims_can_depend_on_the_target(technique, target_name, claims):
    assert optimizers.get(technique).claims_for(target(target_name)) == claims


@pytest.mark.parametrize(
    ("technique", "target_name", "sentence"),
    [
        ("dynamic_int8", "cuda", "int8 kernels are CPU only"),  # OPT-08 (a)
        ("dynamic_int8", "bf16", "int8 kernels are CPU only"),
        ("dynamic_int8", "bf16_cpu", "int8 leaves nothing in half precision"),
        ("onnxruntime", "fp16_cpu", "nothing would be in half precision"),
        ("onnxruntime_int8", "fp16_cpu", "int8 leaves nothing in half precision"),
        ("prune_unstructured:0.5+dynamic_int8", "cuda", "int8 kernels are CPU only"),
    ],
)
def test_refusals_by_target_come_before_any_work(
    technique, target_name, sentence, monkeypatch, tmp_path
):
    model = known("test_linear", monkeypatch)
    with pytest.raises(Refused, match=sentence):
        apply(technique, model, tmp_path, target_name)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("technique", "layers", "sentence"),
    [
        # OPT-02: nothing to convert is told, not passed for a drop of 0.0.
        (
            "dynamic_int8",
            lambda: [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)],
            "no Linear or LSTM layer to quantise in test_layers",
        ),
        (
            "channels_last",
            lambda: [nn.Linear(8, 8)],
            "no 2-D convolution to lay out in test_layers",
        ),
        (
            "prune_unstructured:0.5",
            lambda: [nn.ReLU(), nn.BatchNorm2d(3)],
            "no layer with weights to prune in test_layers",
        ),
    ],
)
def test_opt_02_a_technique_with_nothing_to_do_refuses(technique, layers, sentence, tmp_path):
    model = small("test_layers", architecture=lambda: nn.Sequential(*layers()))
    with pytest.raises(Refused, match=sentence):
        apply(technique, model, tmp_path)


def test_a_second_pass_of_dynamic_int8_finds_nothing_left(monkeypatch, tmp_path):
    with pytest.raises(Refused, match="no Linear or LSTM layer"):
        apply("dynamic_int8+dynamic_int8", known("test_linear", monkeypatch), tmp_path)


def test_a_stage_after_a_runtime_is_refused(monkeypatch, tmp_path):
    with pytest.raises(Refused, match="dynamic_int8 needs an eager module, and onnxruntime leaves"):
        apply("onnxruntime+dynamic_int8", known("test_linear", monkeypatch), tmp_path)


def test_channels_last_keeps_its_layout_through_half_precision(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    optimized, _ = apply("channels_last", model, tmp_path, "bf16_cpu")
    measured = outputs(optimized, model, "bf16_cpu")
    reloaded = artifact.load(saved(optimized, tmp_path), target("bf16_cpu"))

    weight = reloaded.module.stem[0].weight
    assert weight.dtype is torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert largest_difference(outputs(reloaded, model, "bf16_cpu"), measured) == 0


def test_pruning_zeros_the_smallest_half_of_every_layer(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    torch.manual_seed(0)
    before = model.build()
    optimized, _ = apply("prune_unstructured:0.5", model, tmp_path, module=before)
    for name in ("stem.0.weight", "depthwise.weight", "head.weight"):
        old, new = before.state_dict()[name], optimized.module.state_dict()[name]
        assert (new == 0).float().mean() == 0.5
        assert old[new == 0].abs().max() <= old[new != 0].abs().min()
        assert torch.equal(new[new != 0], old[new != 0])
    assert not any(name.endswith(("_orig", "_mask")) for name in optimized.module.state_dict())


@pytest.mark.parametrize("model_name", ["test_rows", "test_sentences"])
def test_pruning_reaches_recurrent_and_attention_weights(model_name, monkeypatch, tmp_path):
    optimized, _ = apply("prune_unstructured:0.9", known(model_name, monkeypatch), tmp_path)
    sparse = {
        name: (value == 0).float().mean().item()
        for name, value in optimized.module.named_parameters()
        if value.dim() > 1 and "embedding" not in name
    }
    assert min(sparse.values()) > 0.85, sparse


def test_opt_16_a_tied_weight_is_pruned_once_and_stays_tied(monkeypatch, tmp_path):
    optimized, _ = apply("prune_unstructured:0.5", known("test_words", monkeypatch), tmp_path)
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    for module in (optimized.module, reloaded.module):
        assert module.head.weight is module.embedding.weight
        assert (module.head.weight == 0).float().mean() == 0.5
    assert artifact.sizes(tmp_path / "artifact")["weights.safetensors"] < 1.2 * 50 * 16 * 4


@pytest.mark.parametrize("amount", ["0", "1", "1.5", "-0.5"])
def test_an_amount_outside_0_to_1_is_an_error(amount, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=f"amount must lie between 0 and 1, found {amount}"):
        apply(f"prune_unstructured:{amount}", known("test_linear", monkeypatch), tmp_path)


def test_dynamic_int8_records_engine_and_layers(monkeypatch, tmp_path):
    optimized, records = apply("dynamic_int8", known("test_rows", monkeypatch), tmp_path)
    notes = records[0]["notes"]
    assert (notes["engine"], notes["layers"]) == (torch.backends.quantized.engine, 4)
    description = json.loads((saved(optimized, tmp_path) / "artifact.json").read_text())
    assert description["stages"][0]["notes"] == notes
    assert description["weights"] == "weights.pt"


def test_dynamic_int8_files_hold_int8_only(tmp_path, monkeypatch):
    model = known(
        small("test_wide", architecture=lambda: nn.Sequential(nn.Linear(8, 4096))), monkeypatch
    )
    plain = saved(apply("none", model, tmp_path)[0], tmp_path)
    folder = tmp_path / "int8"
    folder.mkdir()
    quantised = saved(apply("dynamic_int8", model, folder)[0], folder)
    weights, biases = 8 * 4096, 4 * 4096
    assert sum(artifact.sizes(plain).values()) > 4 * weights + biases
    assert sum(artifact.sizes(quantised).values()) < weights + biases + 4000
