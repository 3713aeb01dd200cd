"""Factors: their rank, what they compute, and the way back from a file."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from optimizers_models import (
    Images,
    LastRow,
    Rows,
    Sentences,
    Small,
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
from torchvision.models import VisionTransformer

import zoo
from optimizers import Refused, artifact, low_rank


class Wide(nn.Module):
    """Two large layers and a head of few classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Pointwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3)
        self.point = nn.Conv2d(32, 64, 1, stride=2)
        self.grouped = nn.Conv2d(64, 64, 1, groups=2)
        self.padded = nn.Conv2d(64, 64, 1, padding=1)
        self.head = nn.Linear(64, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.padded(self.grouped(self.point(self.stem(pixels)))).mean((2, 3)))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.middle = nn.Linear(32, 32)
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.middle(self.embedding(ids)).mean(1))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.body = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
        self.out = nn.Linear(32, 32)

    def forward(self, ids: Tensor, mask: Tensor, unused: Tensor | None = None) -> Tensor:
        return self.out(self.body(self.embedding(ids), src_key_padding_mask=mask == 0)[:, 0])


def vit() -> nn.Module:
    return VisionTransformer(
        image_size=8,
        patch_size=4,
        num_layers=1,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
        num_classes=4,
    )


class Taught(Small):
    def split(self, name: str) -> zoo.Split:
        return super().split("calibration" if name == "train" else name)


MODELS = {
    "low_wide": (lambda: small("low_wide", Small, Wide), {"body.2"}),
    "low_point": (lambda: small("low_point", Images, Pointwise), {"point"}),
    "low_shared": (lambda: small("low_shared", Words, Shared), {"middle"}),
    "low_transformer": (lambda: small("low_transformer", Sentences, Transformer), {"out"}),
    "low_vit": (
        lambda: small("low_vit", Images, vit),
        {
            "encoder.layers.encoder_layer_0.self_attention.query",
            "encoder.layers.encoder_layer_0.self_attention.key",
            "encoder.layers.encoder_layer_0.self_attention.value",
            "encoder.layers.encoder_layer_0.self_attention.output",
            "encoder.layers.encoder_layer_0.mlp.0",
            "encoder.layers.encoder_layer_0.mlp.3",
        },
    ),
}


# torch says so of its transformer layers' own fused path, when they are given a padding mask.
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", MODELS)
def test_large_matrices_are_factorised_and_open_again(name, monkeypatch, tmp_path):
    make, expected = MODELS[name]
    model = known(make(), monkeypatch)
    optimized, records = apply("low_rank:0.5:false", model, tmp_path)
    notes = records[0]["notes"]
    json.dumps(records)
    assert set(notes["ranks"]) == expected
    for name in expected:
        first, second = optimized.module.get_submodule(name)
        rank = notes["ranks"][name]
        assert first.weight.shape[0] == second.weight.shape[1] == rank
        assert first.bias is None
        assert 0 < notes["energy"][name] < 1
    measured = outputs(optimized, model)
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6


def test_factors_are_the_best_of_their_rank():
    torch.manual_seed(0)
    layer = nn.Linear(48, 40)
    factors = low_rank.pair(layer, 12)
    energy = low_rank.fill(factors, layer.weight.detach())
    product = (factors[1].weight @ factors[0].weight).detach()
    values = torch.linalg.svdvals(layer.weight.detach().double())
    lost = (product - layer.weight.detach()).double().square().sum()
    torch.testing.assert_close(lost, values[12:].square().sum(), rtol=1e-4, atol=0)
    assert energy == pytest.approx(float(1 - lost / values.square().sum()), rel=1e-5)
    assert torch.equal(factors[1].bias, layer.bias)


def test_a_matrix_of_that_rank_already_is_kept_exactly(monkeypatch, tmp_path):
    model = known(MODELS["low_wide"][0](), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    with torch.no_grad():
        module.body[2].weight.copy_(torch.randn(64, 5) @ torch.randn(5, 64) / 16)
    before = outputs(module, model)
    optimized, _ = apply("low_rank:0.5:false", model, tmp_path, module=module)
    assert largest_difference(outputs(optimized, model), before) < 1e-5


@pytest.mark.parametrize(("shape", "ratio", "rank"), [((64, 64), 0.5, 16), ((128, 64), 0.7, 29)])
def test_the_rank_saves_what_the_ratio_says(shape, ratio, rank):
    outputs, inputs = shape
    assert low_rank.rank_for(nn.Linear(inputs, outputs), ratio) == rank
    assert rank * (outputs + inputs) <= ratio * outputs * inputs


def test_training_brings_it_nearer_to_the_full_rank(monkeypatch, tmp_path):
    model = known(small("low_taught", Taught, Wide), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    expected = outputs(module, model)[32]
    far = []
    for tune in ("false", "true"):
        folder = tmp_path / tune
        folder.mkdir()
        optimized, records = apply(f"low_rank:0.3:{tune}", model, folder, module=module)
        far.append((outputs(optimized, model)[32] - expected).square().mean().item())
        assert ("finetune" in records[0]["notes"]) == (tune == "true")
    assert far[1] < 0.8 * far[0]


def test_what_cannot_be_factorised_is_refused(monkeypatch, tmp_path):
    model: Any = known(small("low_lstm", Rows, LastRow), monkeypatch)
    with pytest.raises(Refused, match="no linear layer or 1x1 convolution of at least 32"):
        apply("low_rank:0.5:false", model, tmp_path)
    with pytest.raises(Refused, match="low_lstm has no train split"):
        apply("low_rank:0.5", model, tmp_path)
    with pytest.raises(ValueError, match="ratio must lie between 0 and 1, found 2"):
        apply("low_rank:2:false", model, tmp_path)
