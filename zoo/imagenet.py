"""Any classifier of torchvision with its own pretrained weights, on a folder of images.

The folder (one sub-folder a class) is named by the environment variable OPTGAUGE_IMAGENET, which
`--imagenet DIR` sets. Weights are taken from torch hub's cache; nothing is downloaded.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

import zoo
from zoo import imagefolder
from zoo.packages import checked

VARIABLE = "OPTGAUGE_IMAGENET"

LIMITS = {"calibration": 256, "evaluation": 2000}
"""Images of a split at most."""

MEMORY = 1_300_000_000
"""Bytes of a split at most: 2,000 images of 224 pixels, fewer of larger ones."""


def default_weights(variant: str) -> WeightsEnum:
    """torchvision's best weights of that classifier."""
    return get_model_weights(variant).DEFAULT


def weights_path(variant: str) -> Path:
    """Where torch hub keeps (or would keep) those weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(default_weights(variant).url).name


def options(variant: str) -> dict[str, Any]:
    """What torchvision's builder sets when it is given weights, beside loading them."""
    if variant in ("googlenet", "inception_v3"):
        # Without the heads that only training uses.
        return {"transform_input": True, "aux_logits": False, "init_weights": False}
    smallest = default_weights(variant).meta["min_size"]
    if variant.startswith("vit_"):
        return {"image_size": smallest[0]}
    if variant == "maxvit_t":
        return {"input_size": smallest}
    return {}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a torchvision checkpoint, named as the modules of today name them.

    The file's name carries the first digits of its SHA-256: raises WrongHash when they differ.
    """
    stated = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if stated is None:
        raise ValueError(f"the name of {path.name} does not carry the start of its SHA-256")
    state = torch.load(
        checked(path, stated.group(1)), map_location="cpu", weights_only=True, mmap=False
    )
    renamed = OrderedDict()
    for name, value in state.items():
        if name.startswith(("aux1.", "aux2.", "AuxLogits.")):
            continue
        # DenseNet's checkpoints are older than the ban on dots in module names.
        renamed[re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)] = value
    if hasattr(state, "_metadata"):
        # Version numbers, by which MNASNet and ViT translate older names themselves.
        renamed._metadata = state._metadata  # type: ignore[attr-defined]
    return renamed


@lru_cache(maxsize=4)
def _files(root: Path, variant: str) -> dict[str, list[imagefolder.File]]:
    return imagefolder.listing(root, default_weights(variant).meta["categories"])


@lru_cache(maxsize=2)
def _split(root: Path, variant: str, name: str) -> zoo.Split:
    transform = default_weights(variant).transforms()
    size = transform.crop_size[0]
    limit = min(LIMITS[name], MEMORY // (3 * size * size * 4))
    return imagefolder.load(_files(root, variant)[name][:limit], transform)


@zoo.register
class ImageNet(zoo.Model):
    """One of torchvision's classifiers; float32 [n, 3, size, size] in, logits [n, 1000] out."""

    name = "imagenet"
    variants = (
        "alexnet",
        "convnext_base",
        "convnext_large",
        "convnext_small",
        "convnext_tiny",
        "densenet121",
        "densenet161",
        "densenet169",
        "densenet201",
        "efficientnet_b0",
        "efficientnet_b1",
        "efficientnet_b2",
        "efficientnet_b3",
        "efficientnet_b4",
        "efficientnet_b5",
        "efficientnet_b6",
        "efficientnet_b7",
        "efficientnet_v2_l",
        "efficientnet_v2_m",
        "efficientnet_v2_s",
        "googlenet",
        "inception_v3",
        "maxvit_t",
        "mnasnet0_5",
        "mnasnet0_75",
        "mnasnet1_0",
        "mnasnet1_3",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "regnet_x_16gf",
        "regnet_x_1_6gf",
        "regnet_x_32gf",
        "regnet_x_3_2gf",
        "regnet_x_400mf",
        "regnet_x_800mf",
        "regnet_x_8gf",
        "regnet_y_128gf",
        "regnet_y_16gf",
        "regnet_y_1_6gf",
        "regnet_y_32gf",
        "regnet_y_3_2gf",
        "regnet_y_400mf",
        "regnet_y_800mf",
        "regnet_y_8gf",
        "resnet101",
        "resnet152",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnext101_32x8d",
        "resnext101_64x4d",
        "resnext50_32x4d",
        "shufflenet_v2_x0_5",
        "shufflenet_v2_x1_0",
        "shufflenet_v2_x1_5",
        "shufflenet_v2_x2_0",
        "squeezenet1_0",
        "squeezenet1_1",
        "swin_b",
        "swin_s",
        "swin_t",
        "swin_v2_b",
        "swin_v2_s",
        "swin_v2_t",
        "vgg11",
        "vgg11_bn",
        "vgg13",
        "vgg13_bn",
        "vgg16",
        "vgg16_bn",
        "vgg19",
        "vgg19_bn",
        "vit_b_16",
        "vit_b_32",
        "vit_h_14",
        "vit_l_16",
        "vit_l_32",
        "wide_resnet101_2",
        "wide_resnet50_2",
    )

    def _variant(self) -> str:
        if self.variant is None:
            raise ValueError("imagenet is a family: name a member, as in imagenet:resnet50")
        return self.variant

    def _root(self) -> Path:
        return Path(os.environ.get(VARIABLE, ""))

    def refuses(self) -> str | None:
        # Paths stay out of these sentences: they are printed in reports that travel.
        if not os.environ.get(VARIABLE):
            return "needs images in class folders: --imagenet DIR"
        if not self._root().is_dir():
            return "the folder given with --imagenet does not exist"
        file = weights_path(self._variant()).name
        if not weights_path(self._variant()).is_file():
            return (
                f"the weights {file} are not in the folder hub/checkpoints of torch's cache "
                f"($TORCH_HOME): put the file there, or fetch it once with python -c 'import "
                f'torchvision; torchvision.models.get_model("{self.variant}", '
                f'weights="DEFAULT")\''
            )
        if not _files(self._root(), self._variant())["evaluation"]:
            return "the folder given with --imagenet holds no images in class folders"
        return None

    def build(self) -> nn.Module:
        return get_model(self._variant(), weights=None, **options(self._variant()))

    def load(self, module: nn.Module) -> None:
        module.load_state_dict(read_weights(weights_path(self._variant())))

    def split(self, name: str) -> zoo.Split:
        if name not in LIMITS:
            raise zoo.Unavailable("pretrained classifiers are not trained here")
        if not _files(self._root(), self._variant())[name]:
            raise zoo.Unavailable(f"the folder given with --imagenet is too small for {name}")
        return _split(self._root(), self._variant(), name)

    def example(self, batch: int) -> zoo.Batch:
        """As the base class says, but reads no more images than it needs."""
        files = _files(self._root(), self._variant())["evaluation"][:batch]
        transform = default_weights(self._variant()).transforms()
        return imagefolder.load(files, transform).take(torch.arange(batch) % len(files))
