"""BatchNorm's running statistics, measured again after what they describe has changed."""

from __future__ import annotations

import torch
from torch import nn

from zoo import Split

BATCH = 50


def renew(module: nn.Module, split: Split) -> int:
    """Make running means and variances plain averages over a split; how many layers have them.

    A short training does not renew them by itself: with a momentum of 0.01, as EfficientNet has
    it, half of a statistic is still the old one after 69 steps. Only they change, no weight does,
    and the module is left in eval mode.
    """
    norms = [
        one
        for one in module.modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.track_running_stats
    ]
    if not norms:
        return 0
    kept = [one.momentum for one in norms]
    module.eval()
    for one in norms:
        one.reset_running_stats()
        one.momentum = None  # The average of all batches.
        one.train()
    try:
        with torch.no_grad():
            for start in range(0, max(1, len(split) - 1), BATCH):
                # Never a batch of one, of which there is no variance.
                stop = len(split) if start + BATCH >= len(split) - 1 else start + BATCH
                args, kwargs = split.take(slice(start, stop))
                module(*args, **kwargs)
                if stop == len(split):
                    break
    finally:
        for one, momentum in zip(norms, kept, strict=True):
            one.momentum = momentum
            one.eval()
    return len(norms)
