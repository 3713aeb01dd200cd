"""FP32 trained without the samples that judge an automatic search."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from torch import nn

from optimizers import weights
from zoo import Model


def trained(model: Model, seed: int, folder: Path) -> nn.Module:
    """The model trained by its own recipe on what its training split has left, in eval mode.

    model: one that has a `train`. folder: where the weights are kept, and found again by a search
    that goes on; raises ArtifactError for a file there that is damaged. The caller's random numbers
    are left as they were.
    """
    # devices=[]: recipes train on the CPU.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = model.build()
        if not folder.exists():
            model.train(module, seed)  # type: ignore[attr-defined]  # the caller knows it has one
            _keep(module, folder)
    (path,) = folder.iterdir()
    weights.load(module, path, weights.tied(module))
    return module.eval()


def _keep(module: nn.Module, folder: Path) -> None:
    """The folder is there with all that belongs in it, or not at all."""
    unfinished = folder.with_name(folder.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    weights.save(module, unfinished)
    os.replace(unfinished, folder)
