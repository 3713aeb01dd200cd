"""Zeros of each layer and of all layers together; what copies and files make of them."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from optimizers_models import (
    Images,
    Tied,
    Words,
    apply,
    known,
    largest_difference,
    outputs,
    saved,
    small,
    target,
)
from torch import Tensor, nn
from torch.nn.utils import prune

from gauge import evidence
from optimizers import artifact
from optimizers.artifact import ArtifactError
from optimizers.eager import EagerModule


class Uneven(nn.Module):
    """A convolution of large weights and a linear layer of small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Conv2d(3, 16, 3)
        self.small = nn.Linear(16, 64)
        with torch.no_grad():
            self.small.weight.mul_(1e-3)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.small(self.large(pixels).mean((2, 3)))


def zeros(weight: Tensor) -> int:
    return int((weight == 0).sum())


def test_local_takes_the_share_of_each_layer_and_global_of_all(monkeypatch, tmp_path):
    model = known(small("uneven", Images, Uneven), monkeypatch)
    for scope in ("local", "global"):
        folder = tmp_path / scope
        folder.mkdir()
        optimized, _ = apply(f"prune_unstructured:0.5:{scope}", model, folder)
        large, tiny = optimized.module.large.weight, optimized.module.small.weight
        total = large.numel() + tiny.numel()
        assert zeros(large) + zeros(tiny) == round(0.5 * total)
        if scope == "local":
            assert zeros(large) == large.numel() // 2
        else:
            assert (zeros(large), zeros(tiny)) == (0, total // 2)
        measured = outputs(optimized, model)
        reloaded = artifact.load(saved(optimized, folder), target())
        assert largest_difference(outputs(reloaded, model), measured) <= 1e-6


def test_global_keeps_the_largest_weights_in_any_layout(monkeypatch, tmp_path):
    model = known(small("uneven", Images, Uneven), monkeypatch)
    torch.manual_seed(0)
    dense = model.build().eval()
    optimized, _ = apply(
        "channels_last+prune_unstructured:0.9:global", model, tmp_path, module=dense
    )
    before = torch.cat([dense.large.weight.flatten(), dense.small.weight.flatten()])
    after = torch.cat(
        [optimized.module.large.weight.flatten(), optimized.module.small.weight.flatten()]
    )
    assert before[after == 0].abs().max() <= before[after != 0].abs().min()
    assert torch.equal(after[after != 0], before[after != 0])


def test_a_shared_weight_counts_once(monkeypatch, tmp_path):
    model = known(small("shared", Words, Tied), monkeypatch)
    optimized, _ = apply("prune_unstructured:0.5:global", model, tmp_path)
    assert optimized.module.head.weight is optimized.module.embedding.weight
    assert zeros(optimized.module.head.weight) == 400


def test_an_unknown_scope_is_an_error(monkeypatch, tmp_path):
    model = known("test_linear", monkeypatch)
    with pytest.raises(ValueError, match="scope must be one of local, global, found layer"):
        apply("prune_unstructured:0.5:layer", model, tmp_path)


# OPT-14: while masks live, files grow and calls slow down; zeros alone save nothing.
def test_zeros_save_no_bytes(monkeypatch, tmp_path):
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 256))

    model = known(small("two_linear", architecture=build), monkeypatch)
    sizes = {}
    for technique in ("none", "prune_unstructured:0.9"):
        folder = tmp_path / technique.replace(":", "-")
        folder.mkdir()
        optimized, _ = apply(technique if technique != "none" else "", model, folder)
        sizes[technique] = artifact.sizes(saved(optimized, folder))["weights.safetensors"]
    assert sizes["none"] == sizes["prune_unstructured:0.9"]


def _time(module: nn.Module, x: Tensor) -> float:
    """Best of several calls, in seconds."""
    found = []
    with torch.inference_mode():
        for _ in range(30):
            began = time.perf_counter()
            module(x)
            found.append(time.perf_counter() - began)
    return min(found)


def test_living_masks_are_slower_and_removed_ones_no_faster():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512)).eval()
    masked = copy.deepcopy(dense)
    for layer in (masked[0], masked[2]):
        prune.l1_unstructured(layer, "weight", 0.9)
    assert sum(one.numel() for one in masked.state_dict().values()) > 1.9 * sum(
        one.numel() for one in dense.state_dict().values()
    )
    x = torch.randn(8, 512)
    assert _time(masked, x) > 1.1 * _time(dense, x)


# OPT-15: a copy of a model whose masks live fails, and its file holds them.
def test_living_masks_break_copies_and_files_and_ours_do_not(monkeypatch, tmp_path):
    model = known("test_linear", monkeypatch)
    optimized, _ = apply("prune_unstructured:0.5", model, tmp_path)
    args, kwargs = model.example(3)
    optimized.module(*args, **kwargs).sum().backward()
    assert torch.equal(copy.deepcopy(optimized.module).weight, optimized.module.weight)
    assert not [name for name in optimized.module.state_dict() if name.endswith("_mask")]

    masked = model.build()
    prune.l1_unstructured(masked, "weight", 0.5)
    masked(*args, **kwargs)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(masked)
    living = EagerModule(masked, model.full_name)
    living.place(target())
    folder = tmp_path / "masked"
    folder.mkdir()
    path = saved(living, folder)
    with pytest.raises(ArtifactError, match="pruning not finalised: weight_mask"):
        artifact.load(path, target())
    batch = model.example(2)
    one = evidence.Subject(living, model.build(), batch, path, target())
    told = evidence.count(["zeros"], one)["zeros"]
    assert not told["found"]
    assert "pruning not finalised" in told["text"]
