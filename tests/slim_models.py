"""Small models of every kind that channels, heads and hidden units are removed from."""

from __future__ import annotations

from typing import Any

import torch
from optimizers_models import (
    Encoder,
    Images,
    Rows,
    Sentences,
    Small,
    small,
)
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import zoo
from zoo.bert import Bert, SentenceEncoder


class Trainable:
    """Makes a small model's training split: its calibration rows, and labels where it has any."""

    classes: int | None = None

    def split(self, name: str) -> zoo.Split:
        found = super().split("calibration" if name == "train" else name)
        if name != "train" or self.classes is None:
            return found
        return zoo.Split(found.inputs, labels=torch.arange(len(found)) % self.classes)


def trainable(name: str, base: type[Small], architecture: Any, classes: int | None = None) -> Small:
    kind = type(name, (Trainable, base), {"classes": classes})
    return small(name, kind, architecture)


class Inverted(nn.Module):
    """A stem, an inverted residual with a depthwise convolution, a flattened head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.expand = nn.Sequential(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.Hardswish())
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.project = nn.Conv2d(32, 16, 1)
        self.head = nn.Linear(16 * 64, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        first = self.stem(pixels)
        block = self.project(self.depthwise(self.expand(first)))
        return self.head((first + block).flatten(1))


class Grouped(nn.Module):
    """A convolution in two groups between two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.Conv2d(16, 16, 3, groups=2),
            nn.Conv2d(16, 32, 3),
            nn.Conv2d(32, 16, 1),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.body(pixels).mean((2, 3)))


def vit() -> nn.Module:
    module = VisionTransformer(
        image_size=8,
        patch_size=4,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        mlp_dim=64,
        num_classes=4,
    )
    nn.init.normal_(module.heads.head.weight)  # Zero as it is made: it would hide everything.
    return module


class Wide(nn.Module):
    """An LSTM and the layer that reads its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 32, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.lstm(rows)[0][:, -1])


class Bidirectional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 32, 2, batch_first=True, bidirectional=True)
        self.norm = nn.Identity()
        self.same = nn.Linear(8, 8)
        self.decoy = nn.Linear(64, 4)
        self.head = nn.Linear(64, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.norm(self.gru(self.same(rows))[0][:, -1]))


def sentence_encoder() -> nn.Module:
    return SentenceEncoder(Bert(vocabulary=50, positions=16, width=32, heads=4, inner=64, layers=2))


class Texts(Sentences):
    def inputs(self, generator: torch.Generator, rows: int) -> Any:
        found = super().inputs(generator, rows)
        return {"input_ids": found["ids"], "attention_mask": found["mask"]}


MODELS = {
    "slim_mlp": lambda: trainable(
        "slim_mlp", Small, lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)), 3
    ),
    "slim_inverted": lambda: trainable("slim_inverted", Images, Inverted, 4),
    "slim_grouped": lambda: trainable("slim_grouped", Images, Grouped, 4),
    "slim_vit": lambda: trainable("slim_vit", Images, vit, 4),
    "slim_encoder": lambda: trainable("slim_encoder", Sentences, Encoder),
    "slim_texts": lambda: trainable("slim_texts", Texts, sentence_encoder),
    "slim_lstm": lambda: trainable("slim_lstm", Rows, Wide, 3),
    "slim_gru": lambda: trainable("slim_gru", Rows, Bidirectional, 3),
}
