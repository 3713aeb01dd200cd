"""torchvision's mobilenet_v3_small on MNIST, its first stride fitted to images of 32 pixels."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

import zoo
from zoo import mnist
from zoo.students import small_convnet
from zoo.training import Recipe, fit


@zoo.register
class MobileNetV3Small(zoo.Model):
    """Depthwise convolutions (Howard et al., 2019); float32 [n, 3, 32, 32] in, logits [n, 10]."""

    name = "mobilenet_v3_small"
    evaluation_samples = 2000

    def build(self) -> nn.Module:
        # torchvision's BatchNorm momentum of 0.01 is made for 600 epochs of ImageNet: after the
        # few hundred steps here the running statistics would still be those of the first ones.
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)
        module = mobilenet_v3_small(num_classes=10, norm_layer=norm)
        # Five halvings of 32 pixels leave one pixel, four leave two.
        module.features[0][0].stride = (1, 1)
        return module

    def train(self, module: nn.Module, seed: int) -> None:
        recipe = Recipe(
            epochs=10, rate=4e-3, smoothing=0.1, augment=self.augment, channels_last=True
        )
        fit(module, self.split("train"), recipe, seed)

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return mnist.shifted(inputs, generator)

    def split(self, name: str) -> zoo.Split:
        return mnist.images(name, 32)

    def student(self) -> nn.Module:
        return small_convnet(channels=3, classes=10)
