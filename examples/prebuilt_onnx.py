"""An ONNX file somebody already has, with evaluation data only.

PREBUILT_ONNX=centroids.onnx pytest suites/ --plugin=examples/prebuilt_onnx.py --model centroids \\
    --technique prebuilt_onnx
"""

import os
from pathlib import Path

import torch
from torch import nn

import optimizers
import zoo
from optimizers.onnx_export import opened
from zoo import digits


@zoo.register
class Centroids(zoo.Model):
    """What the file was made from: each digit's mean image, the nearest one wins."""

    name = "centroids"

    def build(self):
        split = digits.split("train")
        means = torch.stack([split.inputs[0][split.labels == n].mean(0) for n in range(10)])
        layer = nn.Linear(64, 10)
        layer.weight.data, layer.bias.data = means, -means.square().sum(1) / 2
        return layer

    def split(self, name):
        if name != "evaluation":
            raise zoo.Unavailable("this model comes with evaluation data only")
        return digits.split("evaluation")


@optimizers.register
class PrebuiltOnnx(optimizers.Technique):
    name = "prebuilt_onnx"
    family = "runtime"
    claims = ("runtime",)

    def refuses(self, model, target):
        file = os.environ.get("PREBUILT_ONNX")
        made_from_it = model.name == "centroids" and file and Path(file).is_file()
        return None if made_from_it else "set PREBUILT_ONNX to the ONNX file of this model"

    def files(self, model):
        return [Path(os.environ["PREBUILT_ONNX"])]

    def apply(self, module, context):
        return opened(Path(os.environ["PREBUILT_ONNX"]), module, context)
