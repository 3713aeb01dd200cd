"""The claim `integer_weights`: weights are stored as integers, in what share of the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gauge.evidence.base import WEIGHTY, Finding, Subject, claim, no_module

_INTEGERS = (torch.int8, torch.uint8, torch.int32, torch.int64)


@claim("integer_weights")
def integer_weights(subject: Subject) -> Finding:
    """Layers of the artifact whose weight is a tensor of integers with scales, by its parts."""
    if subject.module is None:
        return no_module("its weights")
    before = dict(subject.baseline.named_modules())
    sizes = {
        name: sum(p.numel() for p in layer.parameters(recurse=False) if p.dim() >= 2)
        for name, layer in before.items()
        if isinstance(layer, WEIGHTY)
    }
    held: dict[str, int] = {}
    for name, layer in subject.module.named_modules():
        weight = getattr(layer, "weight", None)
        if name in sizes and isinstance(weight, Tensor):
            stored = _integer_bytes(weight)
            # Two 4-bit weights share a byte: half a byte a weight is the least.
            if stored >= sizes[name] / 2:
                held[name] = stored
    total = sum(sizes.values())
    share = sum(sizes[name] for name in held) / total if total else 0.0
    numbers = {
        "layers": len(held),
        "of": len(sizes),
        "share": share,
        "bytes": sum(held.values()),
    }
    text = f"{len(held)} of {len(sizes)} layers hold integers, {share:.0%} of weight bytes"
    return Finding(bool(held), text if held else f"not applied: {text}", numbers)


def _integer_bytes(weight: Any) -> int:
    """Bytes of the integer tensors that a wrapper tensor is made of; 0 for a plain tensor."""
    if not hasattr(weight, "__tensor_flatten__"):
        return 0
    parts = [getattr(weight, name) for name in weight.__tensor_flatten__()[0]]
    return sum(
        part.numel() * part.element_size()
        for part in parts
        if isinstance(part, Tensor) and part.dtype in _INTEGERS
    )
