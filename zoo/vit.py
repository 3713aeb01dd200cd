"""torchvision's VisionTransformer on MNIST: 28 pixels, patches of 7, 4 layers, width 64."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import zoo
from zoo import mnist
from zoo.training import Recipe, fit


def _vit(layers: int, width: int) -> nn.Module:
    return VisionTransformer(
        image_size=28,
        patch_size=7,
        num_layers=layers,
        num_heads=4,
        hidden_dim=width,
        mlp_dim=2 * width,
        num_classes=10,
    )


@zoo.register
class ViT(zoo.Model):
    """Transformer over image patches (Dosovitskiy et al., 2021); float32 [n, 3, 28, 28] in."""

    name = "vit"
    evaluation_samples = 2000

    def build(self) -> nn.Module:
        return _vit(layers=4, width=64)

    def train(self, module: nn.Module, seed: int) -> None:
        recipe = Recipe(
            epochs=44,
            rate=3e-3,
            batch=50,
            decay=0.1,
            smoothing=0.1,
            augment=self.augment,
        )
        fit(module, self.split("train"), recipe, seed)

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return mnist.shifted(inputs, generator, reach=2)

    def split(self, name: str) -> zoo.Split:
        return mnist.images(name)

    def student(self) -> nn.Module:
        return _vit(layers=2, width=32)
