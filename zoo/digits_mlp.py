"""A small perceptron on 8 x 8 digits: trains in seconds, the model to try things on."""

from __future__ import annotations

from torch import nn

import zoo
from zoo import digits
from zoo.training import Recipe, fit


@zoo.register
class DigitsMlp(zoo.Model):
    """Three linear layers; float32 [n, 64] in, logits [n, 10] out."""

    name = "digits_mlp"
    evaluation_samples = 1000

    def build(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def train(self, module: nn.Module, seed: int) -> None:
        fit(module, self.split("train"), Recipe(epochs=60, rate=5e-3, batch=50), seed)

    def split(self, name: str) -> zoo.Split:
        return digits.split(name)

    def student(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
