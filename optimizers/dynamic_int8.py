"""Linear and recurrent layers with int8 weights and activations quantised as they come."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from optimizers import layer_noise
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from zoo import Model


@register
class DynamicInt8(Technique):
    """torch's own `quantize_dynamic`, which needs no calibration and leaves convolutions alone."""

    name = "dynamic_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("integer_kernels",)
    standard = ("digits_mlp", "lstm", "vit")

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cpu":
            return "int8 kernels are CPU only"
        if target.dtype != "float32":
            return "int8 leaves nothing in half precision"
        return None

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        if "quantize_dynamic" not in vars(torch.ao.quantization):
            raise Refused(f"torch {torch.__version__} has no quantize_dynamic")
        context.notes["engine"] = torch.backends.quantized.engine
        before, exact = _quantised(module), copy.deepcopy(module)
        module = _quantise(module)
        layers = _quantised(module) - before
        if not layers:
            raise Refused(f"no Linear or LSTM layer to quantise in {context.model.full_name}")
        context.notes["layers"] = layers
        layer_noise.note_modules(context, exact, module)
        return EagerModule(module)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        # Weights are packed for an engine; torch has one at a time.
        if notes["engine"] != torch.backends.quantized.engine:
            torch.backends.quantized.engine = notes["engine"]
        return _quantise(module)


def _quantise(module: nn.Module) -> nn.Module:
    _leave_fast_path(module)
    # convert() replaces children only: a module that is itself a Linear needs a parent.
    parent = nn.Sequential(module)
    with _deprecations_ignored():
        torch.ao.quantization.quantize_dynamic(parent, inplace=True)
    return parent[0]


def _leave_fast_path(module: nn.Module) -> None:
    """Keep torch's transformer layers from their fused path, which reads `linear1.weight.device`.

    A quantised Linear's weight is a method, so that path raises AttributeError.
    """
    for layer in module.modules():
        if isinstance(layer, nn.TransformerEncoder):
            layer.use_nested_tensor = False
        elif isinstance(layer, nn.TransformerEncoderLayer):
            layer.activation_relu_or_gelu = 0


def _quantised(module: nn.Module) -> int:
    return sum(
        type(layer).__module__.startswith("torch.ao.nn.quantized.dynamic.modules")
        and type(layer).__name__ != "PackedParameter"
        for layer in module.modules()
    )


@contextlib.contextmanager
def _deprecations_ignored() -> Iterator[None]:
    """torch announces the end of this very function, and of the tensors it makes; both are here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated")
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
        yield
