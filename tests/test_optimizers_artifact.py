"""What is wrong with an artifact on disk is named, never half read and never run."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from optimizers_models import (
    apply,
    known,
    known_technique,
    largest_difference,
    outputs,
    saved,
    small,
    target,
)
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

import optimizers
from optimizers import EagerModule, Optimized, artifact
from optimizers.artifact import ArtifactError


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    """A saved baseline of a small module with tied weights and one BatchNorm."""
    model = known(small("test_made", architecture=_made), monkeypatch)
    return saved(apply("", model, tmp_path)[0], tmp_path)


def _made() -> nn.Module:
    module = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8))
    module[2].weight = module[0].weight
    return module


def _seal(folder: Path) -> None:
    """Make the manifest right again after a change: what only the loader can find."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {
        file.name: artifact._describe(file) for file in folder.iterdir() if file != path
    }
    path.write_text(json.dumps(manifest))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _edit_weights(folder: Path, edit) -> None:
    path = folder / "weights.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    edit(tensors)
    save_file(tensors, path)
    _seal(folder)


def test_a_baseline_is_saved_and_opened_like_any_artifact(folder):
    assert sorted(artifact.sizes(folder)) == [
        "artifact.json",
        "manifest.json",
        "weights.safetensors",
    ]
    reloaded = artifact.load(folder, target())
    assert isinstance(reloaded, EagerModule)
    assert reloaded.stages == []
    assert not reloaded.module.training
    assert reloaded.module[0].weight is reloaded.module[2].weight


def test_sizes_count_every_file(folder):
    assert sum(artifact.sizes(folder).values()) == sum(
        file.stat().st_size for file in folder.iterdir()
    )


@pytest.mark.parametrize("name", ["weights.safetensors", "artifact.json"])
def test_a_changed_or_missing_file_is_named(folder, name):
    path = folder / name
    original = path.read_bytes()
    path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=f"{name} differs from its SHA-256"):
        artifact.load(folder, target())
    path.write_bytes(original[: len(original) // 2])
    with pytest.raises(ArtifactError, match=f"{name} differs"):
        artifact.load(folder, target())
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        artifact.load(folder, target())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1}', "\xff"])
def test_a_damaged_manifest_is_named(folder, text):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        artifact.load(folder, target())


@pytest.mark.parametrize("name", ["model.pt2", "kernel.so", "weights.pkl", "old.pth", "x.bin"])
def test_a_file_the_manifest_does_not_list_is_refused(folder, name):
    (folder / name).write_bytes(b"\x7fELF")
    with pytest.raises(ArtifactError, match=f"{name} is not in manifest.json: it is not opened"):
        artifact.load(folder, target())


def test_a_link_is_refused(folder, tmp_path):
    shutil.move(folder / "artifact.json", tmp_path / "elsewhere.json")
    (folder / "artifact.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ArtifactError, match=r"artifact\.json is a link"):
        artifact.load(folder, target())


@pytest.mark.parametrize(
    "loader",
    [
        "builtins:dict",
        "optimizers.base:Technique",
        "optimizers.no_such:Thing",
        "not_imported_anywhere:Thing",
        "antigravity:Thing",
        "os:system",
        "",
        None,
        3,
    ],
)
def test_a_loader_that_is_no_optimized_is_refused_and_not_imported(folder, loader, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail("antigravity was imported"))
    _edit(folder / "manifest.json", loader=loader)
    with pytest.raises(ArtifactError, match="is not a subclass of Optimized"):
        artifact.load(folder, target())


def test_a_manifest_cannot_reach_outside(folder, tmp_path):
    (tmp_path / "secret").write_text("x")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../secret"] = artifact._describe(tmp_path / "secret")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="secret is missing"):
        artifact.load(folder, target())


class _Explained(Optimized):
    """Saves what the test tells it to."""

    def __init__(self, **terms) -> None:
        self.__dict__.update(terms)

    def save(self, directory: Path) -> None:
        (directory / "data.json").write_text("{}")

    @classmethod
    def load(cls, directory: Path, target) -> _Explained:
        return cls()


def test_batch_and_tolerance_travel_in_the_manifest(tmp_path):
    terms = {"batch": 4, "tolerance": 1e-3, "tolerance_reason": "compiled for another order"}
    artifact.save(_Explained(**terms), tmp_path)
    reloaded = artifact.load(tmp_path, target())
    assert {name: getattr(reloaded, name) for name in terms} == terms


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"tolerance": 1e-3}, "needs a tolerance_reason"),
        ({"tolerance": float("nan"), "tolerance_reason": "x"}, "must be finite"),
        ({"tolerance": float("inf"), "tolerance_reason": "x"}, "must be finite"),
        ({"tolerance": -1.0}, "must be finite and not negative"),
    ],
)
def test_terms_that_make_no_sense_are_not_saved(terms, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        artifact.save(_Explained(**terms), tmp_path)


def test_an_artifact_is_saved_into_an_empty_folder_only(folder):
    with pytest.raises(ValueError, match="is not empty"):
        artifact.save(_Explained(), folder)


def test_a_class_without_an_importable_name_is_not_saved(tmp_path):
    class Local(_Explained):
        pass

    with pytest.raises(ValueError, match="nothing could load it"):
        artifact.save(Local(), tmp_path)


def test_opt_09_entries_missing_or_unexpected_are_named(folder):
    _edit_weights(folder, lambda tensors: tensors.pop("1.running_mean"))
    with pytest.raises(ArtifactError, match=r"weights\.safetensors .* missing 1\.running_mean"):
        artifact.load(folder, target())
    _edit_weights(folder, lambda tensors: tensors.update({"9.extra": torch.ones(1)}))
    with pytest.raises(ArtifactError, match=r"missing 1\.running_mean; unexpected 9\.extra"):
        artifact.load(folder, target())


def test_opt_09_another_dtype_or_shape_is_not_converted(folder):
    _edit_weights(folder, lambda tensors: tensors.update({"0.bias": torch.ones(8).half()}))
    with pytest.raises(ArtifactError, match=r"0\.bias is torch\.float16"):
        artifact.load(folder, target())
    _edit_weights(folder, lambda tensors: tensors.update({"0.bias": torch.ones(1)}))
    with pytest.raises(ArtifactError, match=r"does not fit the rebuilt module: .*size mismatch"):
        artifact.load(folder, target())


def test_tied_weights_that_come_apart_are_told(folder):
    def untie(tensors):
        tensors["2.weight"] = tensors["0.weight"] + 1

    _edit_weights(folder, untie)
    _edit(folder / "artifact.json", tied={})
    _seal(folder)
    with pytest.raises(ArtifactError, match=r"tied weights differ: none when saved, 2\.weight in"):
        artifact.load(folder, target())


def test_opt_15_a_forgotten_mask_is_told(folder):
    module = prune.l1_unstructured(nn.Linear(8, 8), "weight", 0.5)
    _edit_weights(folder, lambda tensors: tensors.update(module.state_dict(prefix="0.")))
    with pytest.raises(ArtifactError, match=r"pruning not finalised: 0\.weight_mask"):
        artifact.load(folder, target())


def test_opt_15_a_buffer_called_mask_is_no_pruning(monkeypatch, tmp_path):
    class Masked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 4)
            self.register_buffer("attention_mask", torch.ones(4))

    model = known(small("test_masked", architecture=Masked), monkeypatch)
    artifact.load(saved(apply("none", model, tmp_path)[0], tmp_path), target())


def test_opt_15_a_pruned_module_can_be_copied_after_a_forward(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    optimized, _ = apply("prune_unstructured:0.5", model, tmp_path)
    args, _ = model.example(2)
    optimized.module(*args).sum().backward()
    twin = copy.deepcopy(optimized.module)
    assert largest_difference(outputs(twin, model), outputs(optimized, model)) == 0


def _packed(monkeypatch, tmp_path) -> Path:
    model = known("test_linear", monkeypatch)
    return saved(apply("dynamic_int8", model, tmp_path)[0], tmp_path)


def test_opt_09_int8_weights_do_not_fit_the_float_module(monkeypatch, tmp_path):
    folder = _packed(monkeypatch, tmp_path)
    _edit(folder / "artifact.json", stages=[])
    _seal(folder)
    with pytest.raises(
        ArtifactError, match=r"weights\.pt does not fit the rebuilt module: missing"
    ):
        artifact.load(folder, target())


class _Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trap-was-sprung"),))


@pytest.mark.parametrize(("protocol", "blocked"), [(2, "GLOBAL getattr"), (4, "operand")])
def test_opt_09_a_pickle_with_code_is_named_and_never_run(monkeypatch, tmp_path, protocol, blocked):
    folder = _packed(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    path = folder / "weights.pt"
    torch.save({"weight": _Trap()}, path, pickle_protocol=protocol)
    _seal(folder)
    with pytest.raises(ArtifactError, match=rf"weights\.pt was not opened: .*{blocked}") as caught:
        artifact.load(folder, target())
    assert "weights_only" not in str(caught.value)
    path.write_bytes(pickle.dumps(_Trap(), protocol))
    _seal(folder)
    with pytest.raises(ArtifactError, match=r"weights\.pt"):
        artifact.load(folder, target())
    assert not (tmp_path / "trap-was-sprung").exists()


@pytest.mark.parametrize("kept", [0, 1, 0.3, 0.9])
@pytest.mark.parametrize("technique", ["none", "dynamic_int8"])
def test_truncated_weights_are_named(monkeypatch, tmp_path, technique, kept):
    model = known("test_linear", monkeypatch)
    folder = saved(apply(technique, model, tmp_path)[0], tmp_path)
    (path,) = folder.glob("weights.*")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept != 1 else 1])
    _seal(folder)
    with pytest.raises(ArtifactError, match=path.name.replace(".", r"\.")):
        artifact.load(folder, target())


def test_weights_that_are_no_state_dict_are_named(monkeypatch, tmp_path):
    folder = _packed(monkeypatch, tmp_path)
    torch.save([torch.ones(1)], folder / "weights.pt")
    _seal(folder)
    with pytest.raises(ArtifactError, match=r"weights\.pt holds a list"):
        artifact.load(folder, target())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "no_such_model"}, "names model 'no_such_model'"),
        ({"stages": [{"technique": "nope", "params": {}, "notes": {}}]}, "names technique 'nope'"),
        ({"weights": "../../weights.safetensors"}, "names '../../weights.safetensors'"),
        ({"target": "bf16_cpu"}, "is for .*bf16_cpu"),
        ({"channels_last": ["0.weight"]}, "memory formats"),
        ({"schema": 7}, "not of schema 1"),
    ],
)
def test_a_description_that_does_not_fit_is_named(folder, changes, sentence):
    _edit(folder / "artifact.json", **changes)
    _seal(folder)
    with pytest.raises(ArtifactError, match=rf"artifact\.json.*{sentence}"):
        artifact.load(folder, target())


def test_an_artifact_is_opened_on_its_own_target_only(folder):
    with pytest.raises(ArtifactError, match=r"is for .*'cpu'.*not for .*bf16_cpu"):
        artifact.load(folder, target("bf16_cpu"))


@pytest.mark.parametrize("technique", ["none", "dynamic_int8"])
def test_views_are_saved_without_the_storage_behind_them(technique, monkeypatch, tmp_path):
    class View(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            whole = torch.randn(1000, 8)
            self.register_buffer("part", whole[3:5])
            self.register_buffer("overlap", whole[4:6])
            self.register_buffer("empty", torch.empty(0, 8))
            self.register_buffer("scalar", torch.tensor(2.0))
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return self.linear(x) @ (self.part + self.overlap).T * self.scalar

    model = known(small("test_view", architecture=View), monkeypatch)
    optimized, _ = apply(technique, model, tmp_path)
    folder = saved(optimized, tmp_path)
    (weights,) = folder.glob("weights.*")
    assert weights.stat().st_size < 8000
    reloaded = artifact.load(folder, target())
    assert largest_difference(outputs(reloaded, model), outputs(optimized, model)) == 0


def test_half_precision_is_saved_and_opened_as_such(monkeypatch, tmp_path):
    model = known("test_words", monkeypatch)
    optimized, _ = apply("none", model, tmp_path, "bf16_cpu")
    folder = saved(optimized, tmp_path)
    reloaded = artifact.load(folder, target("bf16_cpu"))
    assert {p.dtype for p in reloaded.module.parameters()} == {torch.bfloat16}
    found = outputs(reloaded, model, "bf16_cpu")
    assert largest_difference(found, outputs(optimized, model, "bf16_cpu")) == 0


def test_notes_that_json_cannot_hold_are_an_error(monkeypatch, tmp_path):
    class Noting(optimizers.Technique):
        name = "test_noting"

        def apply(self, module, context):
            context.notes["loss"] = float("nan")
            return EagerModule(module)

    known_technique(Noting, monkeypatch)
    optimized, _ = apply("test_noting", known("test_linear", monkeypatch), tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        saved(optimized, tmp_path)
