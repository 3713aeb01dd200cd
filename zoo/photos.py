"""Crops of the photographs that scikit-image and scikit-learn ship, sized for ImageNet models.

Drawings, masks and thumbnails in the same folders are left out. A photo is a group, and each
split has photos of its own.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from zoo.base import Split, Unavailable
from zoo.packages import file_in
from zoo.splits import SEED

SIZE = 96
"""Pixels a side of a crop."""

SHORTER = 2 * SIZE
"""Photos are first reduced until their shorter side has this length."""

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue in [0, 1]."""

SKIMAGE, SKLEARN = "skimage/data/", "sklearn/datasets/images/"

PHOTOS: dict[str, tuple[tuple[str, ...], ...]] = {
    # One group a line; the motorcycle was photographed twice.
    "train": (
        (SKIMAGE + "motorcycle_left.png", SKIMAGE + "motorcycle_right.png"),
        (SKIMAGE + "brick.png",),
        (SKIMAGE + "page.png",),
    ),
    "calibration": (
        (SKLEARN + "flower.jpg",),
        (SKIMAGE + "rocket.jpg",),
        (SKIMAGE + "grass.png",),
        (SKIMAGE + "cell.png",),
    ),
    "evaluation": (
        (SKLEARN + "china.jpg",),
        (SKIMAGE + "astronaut.png",),
        (SKIMAGE + "camera.png",),
        (SKIMAGE + "chelsea.png",),
        (SKIMAGE + "clock_motion.png",),
        (SKIMAGE + "coffee.png",),
        (SKIMAGE + "coins.png",),
        (SKIMAGE + "gravel.png",),
        (SKIMAGE + "hubble_deep_field.jpg",),
        (SKIMAGE + "ihc.png",),
        (SKIMAGE + "moon.png",),
        (SKIMAGE + "retina.jpg",),
        (SKIMAGE + "text.png",),
    ),
}

CROPS = {"train": 96, "calibration": 48, "evaluation": 80}
"""Crops a photo; 13 photos for evaluation make 1,040."""


def _windows(width: int, height: int, count: int, random: np.random.RandomState) -> np.ndarray:
    """Square windows inside an image, int [count, 4]: left, top, right, bottom.

    A side is half the image's shorter one or more, so that there is something to recognise.
    """
    shorter = min(width, height)
    side = random.randint(shorter // 2, shorter + 1, size=count)
    left = (random.random_sample(count) * (width - side + 1)).astype(int)
    top = (random.random_sample(count) * (height - side + 1)).astype(int)
    return np.stack([left, top, left + side, top + side], axis=1)


def _crops(names: tuple[str, ...], count: int, random: np.random.RandomState) -> list[np.ndarray]:
    """`count` crops, uint8 [SIZE, SIZE, 3], taken from the photos of a group in turn."""
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    crops = []
    for turn, name in enumerate(names):
        package, relative = name.split("/", 1)
        with Image.open(file_in(package, relative)) as opened:
            photo = opened.convert("RGB")
        # Reduced once, not in every crop: the evaluation split is ready in 0.8 s instead of 2 s,
        # and each worker that needs it makes it.
        share = min(1.0, SHORTER / min(photo.size))
        photo = photo.resize([round(side * share) for side in photo.size], bilinear)
        for window in _windows(*photo.size, len(range(turn, count, len(names))), random):
            small = photo.resize((SIZE, SIZE), bilinear, box=tuple(window))
            crops.append(np.asarray(small))
    return crops


def normalised(pixels: np.ndarray) -> Tensor:
    """uint8 [n, height, width, 3] to float32 [n, 3, height, width], as ImageNet models want it."""
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return ((scaled - mean[:, None, None]) / deviation[:, None, None]).contiguous()


@cache
def split(name: str) -> Split:
    """Inputs float32 [n, 3, SIZE, SIZE], normalised; a group for each photo; no labels."""
    if name not in PHOTOS:
        raise Unavailable(f"there is no split {name!r}; the splits are {', '.join(PHOTOS)}")
    names = list(PHOTOS)
    first = sum(len(PHOTOS[before]) for before in names[: names.index(name)])
    crops: list[np.ndarray] = []
    groups: list[int] = []
    for number, photo in enumerate(PHOTOS[name], start=first):
        # A stream for each photo: adding one leaves the crops of the others as they are.
        taken = _crops(photo, CROPS[name], np.random.RandomState(SEED + number))
        crops += taken
        groups += [number] * len(taken)
    return Split(inputs=(normalised(np.stack(crops)),), groups=groups)
