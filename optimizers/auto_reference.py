"""FP32 trained without the samples that judge an automatic search."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from optimizers import weights
from optimizers.artifact import whole
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
            with whole(folder) as unfinished:
                weights.save(module, unfinished)
    (path,) = folder.iterdir()
    weights.load(module, path, weights.tied(module))
    return module.eval()
