"""torchvision's resnet18 on MNIST, its stem fitted to images of 28 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

import zoo
from zoo import mnist
from zoo.students import small_convnet
from zoo.training import Recipe, fit


@zoo.register
class ResNet18(zoo.Model):
    """Residual network (He et al., 2016); float32 [n, 3, 28, 28] in, logits [n, 10] out."""

    name = "resnet18"
    evaluation_samples = 2000

    def build(self) -> nn.Module:
        module = resnet18(num_classes=10, zero_init_residual=True)
        # The stock stem (7 x 7, stride 2, pooling) is made for 224 pixels. This one sees every
        # pixel and then quarters the image all the same: on one core a training takes a minute,
        # without the pooling three; striding in the convolution costs 0.7 points of accuracy.
        module.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(module.conv1.weight, mode="fan_out", nonlinearity="relu")
        module.maxpool = nn.MaxPool2d(kernel_size=4)
        return module

    def train(self, module: nn.Module, seed: int) -> None:
        recipe = Recipe(
            epochs=7, rate=0.1, decay=5e-4, momentum=0.9, smoothing=0.1, augment=self.augment
        )
        fit(module, self.split("train"), recipe, seed)

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return mnist.shifted(inputs, generator)

    def split(self, name: str) -> zoo.Split:
        return mnist.images(name)

    def student(self) -> nn.Module:
        return small_convnet(channels=3, classes=10)
