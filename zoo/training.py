"""The one training loop of the zoo: small, seeded, the same weights on every run of a machine."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.base import Split
from zoo.precision import current
from zoo.steps import Step

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    rate: the highest learning rate. decay: of the weights. momentum: None for AdamW (Loshchilov
    and Hutter, 2019), else SGD with Nesterov's momentum. smoothing: share of the labels
    (Szegedy et al., 2016). augment: gets a batch and the generator to draw from.
    """

    epochs: int
    rate: float
    batch: int = 100
    decay: float = 1e-2
    momentum: float | None = None
    smoothing: float = 0.0
    augment: Augment | None = None
    channels_last: bool = False


def order(count: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Row numbers of an epoch in random order, cut in batches.

    A tail of one joins the batch before it: BatchNorm cannot train on a single value a channel.
    """
    parts = list(torch.randperm(count, generator=generator).split(batch))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def fit(module: nn.Module, split: Split, recipe: Recipe, seed: int) -> None:
    """Train `module` in place on labels, and leave it in eval mode.

    The rate rises over the first fifth of the steps and falls along a cosine to zero (one cycle,
    Smith and Topin, 2019). Random numbers come from `seed` alone; the caller's generator is left
    as it was. Steps are taken where the module is, in FP32 or as `zoo.precision.use` says.
    """
    if split.labels is None or isinstance(split.inputs, dict) or len(split.inputs) != 1:
        raise ValueError("fit() trains on one positional input and labels")
    precision, trace = current()
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    total = recipe.epochs * len(order(len(split), recipe.batch, torch.Generator()))
    device = next(module.parameters()).device
    # On the CPU no device: no CUDA context is made to keep its generator.
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)
        module.to(memory_format=layout).train()
        optimiser = _optimiser(module, recipe)
        step = Step(module, recipe, optimiser, precision, trace)
        batches = itertools.islice(_batches(split, recipe, seed), precision.most_steps)
        for number, (batch, labels) in enumerate(batches, 1):
            # By batches seen, not by updates: torch's schedulers warn where the first is skipped.
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * one_cycle(number / (total + 1))
            step(batch, labels)
            if trace is not None and precision.most_steps is not None:
                trace.step, trace.batch = step, (batch, labels)
    module.zero_grad(set_to_none=True)
    module.to(memory_format=torch.contiguous_format).eval()


def _batches(split: Split, recipe: Recipe, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every batch of the recipe with its labels, on the CPU, in an order drawn from the seed."""
    assert split.labels is not None
    assert not isinstance(split.inputs, dict)
    inputs, labels = split.inputs[0], split.labels
    generator = torch.Generator().manual_seed(seed)
    for _ in range(recipe.epochs):
        for rows in order(len(split), recipe.batch, generator):
            batch = inputs[rows]
            if recipe.augment is not None:
                batch = recipe.augment(batch, generator)
            if recipe.channels_last:
                batch = batch.contiguous(memory_format=torch.channels_last)
            yield batch, labels[rows]


def _optimiser(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = module.parameters()
    if recipe.momentum is None:
        return torch.optim.AdamW(parameters, recipe.rate, weight_decay=recipe.decay)
    return torch.optim.SGD(
        parameters,
        recipe.rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.decay,
    )


def one_cycle(share: float, rise: float = 0.2) -> float:
    """Factor of the learning rate when `share` of the training is done."""
    if share < rise:
        return share / rise
    return 0.5 * (1 + math.cos(math.pi * (share - rise) / (1 - rise)))
