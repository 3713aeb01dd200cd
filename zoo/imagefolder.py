"""Images in class folders, cut into a calibration and an evaluation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.base import Split
from zoo.splits import SEED
from zoo.synsets import SYNSETS

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

File = tuple[Path, int]
"""An image and its class index."""


class UnknownClass(ValueError):
    """A class folder has a name that no class of the weights answers to."""


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ")


def class_index(folder: str, categories: Sequence[str]) -> int:
    """The class a folder stands for: a WordNet id, a class name, or an index.

    categories: class names in the order of the model's outputs. Case, and blanks written as
    "_" or "-", do not matter in names. Raises UnknownClass.
    """
    if folder in SYNSETS and len(categories) == len(SYNSETS):
        return SYNSETS.index(folder)
    if folder in categories:
        return categories.index(folder)
    likely = [number for number, name in enumerate(categories) if _plain(name) == _plain(folder)]
    if len(likely) == 1:
        return likely[0]
    if likely:
        # ImageNet has a Cardigan (a dog) and a cardigan.
        raise UnknownClass(f"the class folder {folder!r} could be any of the classes {likely}")
    if folder.isascii() and folder.isdigit() and int(folder) < len(categories):
        return int(folder)
    raise UnknownClass(
        f"the class folder {folder!r} is no class of these weights: name it by WordNet id "
        f"({SYNSETS[0]}), by class ({categories[0]}) or by index (0 to {len(categories) - 1})"
    )


def listing(root: Path, categories: Sequence[str]) -> dict[str, list[File]]:
    """Image files of "calibration" and "evaluation", the same on every run.

    Of each class a fifth (at least one, if there are two) goes to calibration. Both lists are in
    turns by class, so that a beginning of any length is balanced.
    """
    splits: dict[str, list[tuple[int, File]]] = {"calibration": [], "evaluation": []}
    folders = (path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    for folder in sorted(folders):
        label = class_index(folder.name, categories)
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        random = np.random.RandomState(SEED + label)
        files = [files[row] for row in random.permutation(len(files))]
        cut = max(1, len(files) // 5) if len(files) > 1 else 0
        for name, part in (("calibration", files[:cut]), ("evaluation", files[cut:])):
            splits[name] += [(turn, (path, label)) for turn, path in enumerate(part)]
    # sorted() keeps equal turns in the order of their folders.
    return {
        name: [file for _, file in sorted(files, key=lambda item: item[0])]
        for name, files in splits.items()
    }


def read(path: Path, transform: Callable[..., Tensor]) -> Tensor:
    """One image as the weights want it, float32 [3, height, width].

    Raises ValueError naming the file (with its folder) when it cannot be read as an image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            colour = image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        name = f"{path.parent.name}/{path.name}"
        raise ValueError(f"{name} cannot be read as an image: {type(error).__name__}") from error
    return transform(colour)


def load(files: Sequence[File], transform: Callable[..., Tensor]) -> Split:
    """The named images and their labels, in memory."""
    images = torch.stack([read(path, transform) for path, _ in files])
    return Split(inputs=(images,), labels=torch.tensor([label for _, label in files]))
