"""An LSTM that reads an MNIST image row by row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import zoo
from zoo import mnist
from zoo.training import Recipe, fit


class RowReader(nn.Module):
    """LSTM (Hochreiter and Schmidhuber, 1997) over 28 rows; float [n, 28, 28] in, logits out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size=28, hidden_size=width, batch_first=True)
        self.classifier = nn.Linear(width, 10)

    def forward(self, rows: Tensor) -> Tensor:
        states, _ = self.lstm(rows)
        return self.classifier(states[:, -1])


@zoo.register
class Lstm(zoo.Model):
    """One LSTM layer of width 128 and a linear classifier of its last state."""

    name = "lstm"
    evaluation_samples = 2000

    def build(self) -> nn.Module:
        return RowReader(width=128)

    def train(self, module: nn.Module, seed: int) -> None:
        recipe = Recipe(epochs=30, rate=5e-3, batch=50, augment=self.augment)
        fit(module, self.split("train"), recipe, seed)

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return mnist.shifted(inputs, generator)

    def split(self, name: str) -> zoo.Split:
        return mnist.rows(name)

    def student(self) -> nn.Module:
        return RowReader(width=32)
