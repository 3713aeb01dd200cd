"""The claim `low_rank`: layers that two smaller ones stand for, and the rank of their product."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gauge.evidence.base import WEIGHTY, Finding, Subject, claim, no_module, packed


@claim("low_rank")
def low_rank(subject: Subject) -> Finding:
    """Pairs of factors whose product has a lower rank than what it stands for, and fewer weights.

    Ranks are numerical, of the product itself: factors that are wide enough for the full rank, or
    that hold more parameters than their product, are no factorisation.
    """
    if subject.module is None:
        return no_module("its factors")
    hidden = packed(subject.module, "their factors")
    if hidden:
        return hidden
    layers = dict(subject.baseline.named_modules())
    of = sum(isinstance(layer, WEIGHTY) for layer in layers.values())
    ranks: list[tuple[str, int, int]] = []
    broken: list[str] = []
    before = after = 0
    for name, (first, second) in _pairs(subject.module):
        if isinstance(layers.get(name), nn.Sequential):
            continue  # The baseline is made of the same two.
        product = second @ first
        dense = _matrix(layers[name]) if name in layers else None
        full = _rank(dense) if dense is not None else min(product.shape)
        rank = _rank(product)
        ranks.append((name, rank, full))
        before += product.numel()
        after += first.numel() + second.numel()
        if rank >= full or first.numel() + second.numel() >= product.numel():
            broken.append(f"{name} has rank {rank} of {full}")
    numbers = {"layers": len(ranks), "of": of, "ranks": ranks, "weights": after, "dense": before}
    if not ranks:
        return Finding(False, f"not applied: 0 of {of} layers factorised", numbers)
    share = sum(rank for _, rank, _ in ranks) / max(1, sum(full for _, _, full in ranks))
    text = (
        f"{len(ranks)} layers factorised: {share:.0%} of their rank, "
        f"{after:,} of {before:,} weights"
    )
    if broken:
        return Finding(False, f"{text}; but {broken[0]}", numbers)
    return Finding(True, text, numbers)


def _pairs(module: nn.Module) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Two matrices in a row with nothing between them, and no bias on the first."""
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Sequential) or len(layer) != 2:
            continue
        first, second = _matrix(layer[0]), _matrix(layer[1])
        if first is not None and second is not None and layer[0].bias is None:
            yield name, (first, second)


def _matrix(layer: nn.Module) -> Tensor | None:
    """The weight of a linear layer or a 1x1 convolution, float [outputs, inputs]."""
    if isinstance(layer, nn.Linear):
        return layer.weight.detach().double().cpu()
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1:
        return layer.weight.detach().double().cpu().flatten(1)
    return None


def _rank(matrix: Tensor) -> int:
    # Above what rounding FP32 weights leaves: 6e-8 of the largest.
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-6))
