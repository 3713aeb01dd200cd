"""The claim `trained_quantised`: weights moved while they were rounded, and are in integers now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from gauge.evidence.base import Finding, Subject, claim, description
from gauge.evidence.inductor import constants, packages

LEAST_MOVED = 1e-4
"""Relative; rounding alone leaves a scale within 1e-6 of the untrained one."""

LEAST_SHARE = 0.5
_STEPS = 127.5
"""Half of the 255 steps that a symmetric int8 scale divides a channel's range into."""


@claim("trained_quantised")
def trained_quantised(subject: Subject) -> Finding:
    """The scales of the artifact's weights are not those that the baseline's weights would have.

    A channel's scale is its largest weight by 127.5, BatchNorm folded in. The artifact's constants
    are searched for the array nearest to the one expected; static quantisation of the baseline
    has exactly that array.
    """
    if not packages(subject):
        return Finding(False, "the artifact has no compiled package to find scales in")
    floats = [np.frombuffer(_whole(data), "<f4") for data in map(constants, packages(subject))]
    layers = {name: _distance(scale, floats) for name, scale in scales(subject.baseline)}
    moved = [name for name, distance in layers.items() if distance > LEAST_MOVED]
    fake = _said(subject)
    numbers = {"layers": len(layers), "moved": len(moved), **fake}
    text = f"weights of {len(moved)} of {len(layers)} layers moved"
    if not layers or len(moved) < LEAST_SHARE * len(layers):
        return Finding(False, f"not trained: {text}", numbers)
    if not fake.get("modules") or fake.get("active") != fake["modules"]:
        return Finding(False, f"{text}, but rounding was not active in training", numbers)
    return Finding(True, f"{text}; {fake['modules']} roundings active in every step", numbers)


def scales(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The int8 scale of each output channel of Linear layers and of convolutions with BatchNorm."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm)
    named = [(n, m) for n, m in module.named_modules() if isinstance(m, kinds)]
    for (name, layer), (_, after) in zip(named, [*named[1:], ("", nn.Identity())], strict=True):
        weight = getattr(layer, "weight", None)
        if isinstance(layer, nn.modules.conv._ConvNd) and not layer.transposed:
            if isinstance(after, nn.modules.batchnorm._BatchNorm) and _fits(layer, after):
                weight = _folded(layer, after)
        elif not isinstance(layer, nn.Linear):
            continue
        if weight is not None and len(weight) > 1:
            yield name, weight.detach().abs().flatten(1).amax(1) / _STEPS


def _fits(layer: Any, norm: Any) -> bool:
    return norm.num_features == layer.out_channels and norm.running_mean is not None


def _folded(layer: Any, norm: Any) -> Tensor:
    with torch.no_grad():
        return fuse_conv_bn_weights(
            layer.weight,
            layer.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )[0]


def _whole(data: bytes) -> bytes:
    return data[: len(data) // 4 * 4]


def _distance(scale: Tensor, pools: list[NDArray[Any]]) -> float:
    """Largest relative difference of the nearest array among the constants; inf for none near."""
    wanted = scale.clamp(min=2**-12).numpy()
    best = np.inf
    for pool in pools:
        # Machine code read as numbers holds NaNs and infinities too.
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(pool - wanted[0]) <= LEAST_MOVED * wanted[0]
        for start in np.flatnonzero(near[: len(pool) - len(wanted) + 1]):
            part = pool[start : start + len(wanted)]
            with np.errstate(invalid="ignore", over="ignore"):
                best = min(best, float(np.max(np.abs(part - wanted) / wanted)))
    return best


def _said(subject: Subject) -> dict[str, int]:
    fake: dict[str, int] = description(subject).get("details", {}).get("fake_quant", {})
    return fake
