"""The claim `bn_unchanged`: calibrating has not moved what BatchNorm knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from gauge.evidence import inductor
from gauge.evidence.base import Finding, Subject, claim

_Norm = nn.modules.batchnorm._BatchNorm
_Conv = nn.modules.conv._ConvNd


@claim("bn_unchanged")
def bn_unchanged(subject: Subject) -> Finding:
    """Every BatchNorm, folded into its convolution, is in the artifact bit by bit.

    Of the baseline, or of what earlier stages made of it, which may have trained it.

    A folded bias is (bias - mean) * weight / sqrt(var + eps) + shift of each channel: statistics
    that moved in calibration, a mean or a variance, give other bits.
    """
    started = subject.baseline if subject.start is None else subject.start
    norms = {n: m for n, m in started.named_modules() if isinstance(m, _Norm)}
    norms = {name: norm for name, norm in norms.items() if norm.running_mean is not None}
    if not norms:
        return Finding(True, "the model has no BatchNorm")
    convolutions = [m for m in started.modules() if isinstance(m, _Conv)]
    moved = [
        name
        for name, norm in norms.items()
        if not any(
            all(_found(subject, one) for one in values) for values in _constants(norm, convolutions)
        )
    ]
    numbers = {"unchanged": len(norms) - len(moved), "of": len(norms)}
    text = f"{len(norms) - len(moved)} of {len(norms)} BatchNorms bit-identical"
    if moved:
        text += f", {moved[0]} is not"
    return Finding(not moved, text, numbers)


def _constants(norm: Any, convolutions: list[Any]) -> Iterator[tuple[Tensor, ...]]:
    """What may be left of a BatchNorm: the bias of a convolution before it, or its statistics."""
    for conv in convolutions:
        if conv.out_channels == norm.num_features and not conv.transposed:
            with torch.no_grad():
                yield (
                    fuse_conv_bn_weights(
                        conv.weight,
                        conv.bias,
                        norm.running_mean,
                        norm.running_var,
                        norm.eps,
                        norm.weight,
                        norm.bias,
                    )[1],
                )
    yield norm.running_mean, norm.running_var


def _found(subject: Subject, values: Tensor) -> bool:
    if subject.module is None:
        return inductor.holds(subject, values)
    return any(
        found.shape == values.shape and torch.equal(found, values)
        for found in _biases(subject.module)
    )


def _biases(module: nn.Module) -> Iterator[Tensor]:
    """Biases of the layers, also of those whose bias is a method, and BatchNorm's statistics."""
    for layer in module.modules():
        bias = getattr(layer, "bias", None)
        bias = bias() if callable(bias) else bias
        for value in (bias, *(getattr(layer, f"running_{one}", None) for one in ("mean", "var"))):
            if isinstance(value, Tensor):
                yield value.detach()
