"""Which layers of a module bear 8 bits badly: each alone rounded, the noise told at the output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import layer_noise
from optimizers.base import Context
from optimizers.onnx_sensitivity import outputs, sqnr
from optimizers.structure import flatten

LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)

SAMPLES = 32
STEPS = 127  # of a signed scale


def by_layer(module: nn.Module, context: Context) -> dict[str, float]:
    """Layer → dB of signal to noise at the output with it alone in 8 bits, the worst first.

    Weights have a scale for each output channel, what the layer is given one for all; both are
    rounded to 8 bits and computed with in FP32, on a few calibration samples. Weights are put back.
    Refused where the module returns what plain data cannot name.
    """
    batch = layer_noise.samples(context, SAMPLES)
    exact = outputs(module, batch, flatten)
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, LAYERS) and not _inside(module, name):
            with _rounded(layer):
                found[name or "(model)"] = round(sqnr(exact, outputs(module, batch, flatten)), 2)
    return dict(sorted(found.items(), key=lambda one: one[1]))


def _inside(module: nn.Module, name: str) -> bool:
    """Whether a layer is a part of another one, as an attention's projection is."""
    parts = name.split(".")
    parents = (module.get_submodule(".".join(parts[:end])) for end in range(1, len(parts)))
    return any(isinstance(one, LAYERS) for one in parents)


@contextmanager
def _rounded(layer: nn.Module) -> Iterator[None]:
    """The layer's weights and inputs in 8 bits for as long as this lasts."""
    kept = {name: one.detach().clone() for name, one in layer.named_parameters() if one.dim() > 1}
    handle = layer.register_forward_pre_hook(_given, with_kwargs=True)
    try:
        with torch.no_grad():
            for name in kept:
                weight = layer.get_parameter(name)
                weight.copy_(_round(weight, weight.flatten(1).abs().amax(1)))
        yield
    finally:
        handle.remove()
        with torch.no_grad():
            for name, one in kept.items():
                layer.get_parameter(name).copy_(one)


def _given(_: nn.Module, args: Any, kwargs: Any) -> Any:
    return tuple(map(_activation, args)), {name: _activation(one) for name, one in kwargs.items()}


def _activation(value: Any) -> Any:
    # Of nested tensors (torch's encoders, with a padding mask) no largest value can be had.
    if not isinstance(value, Tensor) or value.is_nested or not value.is_floating_point():
        return value
    return _round(value, value.abs().max().reshape(1))


def _round(value: Tensor, largest: Tensor) -> Tensor:
    """To 127 steps each side of zero; largest: by the first dimension, or one for all."""
    scale = (largest / STEPS).clamp(min=1e-12).reshape(-1, *[1] * (value.dim() - 1))
    return (value / scale).round().clamp(-STEPS, STEPS) * scale
