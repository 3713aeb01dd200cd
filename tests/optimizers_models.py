"""Small models for the tests of optimizers, and the way from a pipeline's name to its artifact."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import optimizers.base
import zoo
import zoo.base
from gauge import targets
from optimizers import Context, Optimized, artifact, pipeline
from suites import naming

BATCHES = (1, 3, 32)


class Small(zoo.Model):
    """A model whose splits are random rows; `architecture` makes the module."""

    architecture: Any = None

    def build(self) -> nn.Module:
        return self.architecture()

    def split(self, name: str) -> zoo.Split:
        if name == "train":
            raise zoo.Unavailable("these tests train nothing")
        seed, rows = {"calibration": (1, 48), "evaluation": (2, 64)}[name]
        return zoo.Split(self.inputs(torch.Generator().manual_seed(seed), rows))

    def inputs(self, generator: torch.Generator, rows: int) -> Any:
        return (torch.randn(rows, 8, generator=generator),)


class Images(Small):
    def inputs(self, generator: torch.Generator, rows: int) -> Any:
        return (torch.randn(rows, 3, 8, 8, generator=generator),)


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Conv2d(16, 16, 3, groups=16)
        self.head = nn.Linear(16, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.depthwise(self.stem(pixels)).mean((2, 3)))


class Reader(nn.Module):
    """Two recurrent layers in both directions, a cell, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(24, 6, batch_first=True)
        self.cell = nn.LSTMCell(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, rows: Tensor) -> Tensor:
        last = self.gru(self.lstm(rows)[0])[0][:, -1]
        return self.head(self.cell(last)[0])


class LastRow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.lstm(rows)[0][:, -1])


class Rows(Small):
    architecture = Reader

    def inputs(self, generator: torch.Generator, rows: int) -> Any:
        return (torch.randn(rows, 5, 8, generator=generator),)


class Encoder(nn.Module):
    """Integer ids, a mask, and an argument that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.body = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), 1
        )
        self.head = nn.Linear(16, 4)

    def forward(self, ids: Tensor, mask: Tensor, unused: Tensor | None = None) -> Tensor:
        states = self.body(self.embedding(ids), src_key_padding_mask=mask == 0)
        weights = mask.to(states.dtype).unsqueeze(-1)
        return self.head((states * weights).sum(1) / weights.sum(1))


class Sentences(Small):
    architecture = Encoder

    def inputs(self, generator: torch.Generator, rows: int) -> Any:
        lengths = torch.randint(1, 8, (rows, 1), generator=generator)
        return {
            # Not the order of the signature, on purpose.
            "mask": (torch.arange(7) < lengths).long(),
            "ids": torch.randint(0, 50, (rows, 7), generator=generator),
        }


class Tied(nn.Module):
    """An embedding and a head that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids).mean(1))


class Words(Small):
    architecture = Tied

    def inputs(self, generator: torch.Generator, rows: int) -> Any:
        return (torch.randint(0, 50, (rows, 7), generator=generator),)


@dataclasses.dataclass
class Scores:
    logits: Tensor


class Output(nn.Module):
    """One Linear, its result wrapped by `wrap`."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.linear(x), x)


def small(name: str, base: type[Small] = Small, architecture: Any = None) -> Small:
    """A model made on the spot; `architecture()` makes its module."""
    members = {"name": name}
    if architecture is not None:
        members["architecture"] = staticmethod(architecture)
    return type(name, (base,), members)()


MODELS = {
    "test_conv": lambda: small("test_conv", Images, ConvNet),
    "test_rows": lambda: small("test_rows", Rows),
    "test_last_row": lambda: small("test_last_row", Rows, LastRow),
    "test_sentences": lambda: small("test_sentences", Sentences),
    "test_words": lambda: small("test_words", Words),
    "test_linear": lambda: small("test_linear", Small, lambda: nn.Linear(8, 4)),
}


def known(model: str | Small, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A model (one above, or made with `small`) that zoo knows for the length of a test."""
    made = MODELS[model]() if isinstance(model, str) else model
    zoo.names()
    monkeypatch.setitem(zoo.base._registry, made.full_name, made)
    return made


def known_technique(
    technique: type[optimizers.Technique], monkeypatch: pytest.MonkeyPatch
) -> type[optimizers.Technique]:
    """A technique that optimizers knows for the length of a test."""
    optimizers.names()
    monkeypatch.setitem(optimizers.base._registry, technique.name, technique())
    return technique


def target(name: str = "cpu") -> targets.Target:
    return targets.get(name)


def apply(
    technique: str,
    model: zoo.Model,
    folder: Path,
    target_name: str = "cpu",
    module: nn.Module | None = None,
) -> tuple[Optimized, list[dict[str, Any]]]:
    """Apply a pipeline by its name to `module`, or to a seeded new one."""
    torch.manual_seed(0)
    module = copy.deepcopy(module) if module is not None else model.build()
    known = {name: optimizers.base.get(name).variants for name in optimizers.base.names()}
    stages = naming.parse(technique, known) if technique else []
    context = Context(model, target(target_name), {}, seed=0, workdir=folder / "work")
    with torch.no_grad():
        return pipeline.apply(stages, module.eval(), context)


def saved(optimized: Optimized, folder: Path) -> Path:
    """The artifact's folder."""
    path = folder / "artifact"
    path.mkdir()
    artifact.save(optimized, path)
    return path


def outputs(call: Any, model: zoo.Model, target_name: str = "cpu") -> dict[int, Any]:
    """What a module or artifact returns, by batch size."""
    found = {}
    with torch.no_grad():
        for size in BATCHES:
            args, kwargs = target(target_name).cast(model.example(size))
            found[size] = call(*args, **kwargs)
    return found


def largest_difference(a: dict[int, Any], b: dict[int, Any]) -> float:
    """Between two results of `outputs`, as a share of the largest value."""
    return max(
        ((a[size] - b[size]).abs().max() / b[size].abs().max().clamp(min=1e-30)).item()
        for size in BATCHES
    )


def noise(a: dict[int, Any], b: dict[int, Any]) -> float:
    """Power of the difference between two results of `outputs`, as a share of the second's."""
    largest = max(BATCHES)
    return ((a[largest] - b[largest]).pow(2).mean() / b[largest].pow(2).mean()).item()
