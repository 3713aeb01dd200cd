"""Weights and activations in int8 by torch.ao's FX mode, where torch still has it."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from optimizers import layer_noise, pt2e
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from zoo import Model

_ENGINE = "x86"


@register
class StaticInt8Fx(Technique):
    """Static quantisation of the symbolically traced module, weights per channel."""

    name = "static_int8_fx"
    family = "quantization"
    changes = "numerics"
    claims = ("integer_kernels", "bn_unchanged")
    standard = ("resnet18",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cpu":
            return "int8 kernels are CPU only"
        if target.dtype != "float32":
            return "int8 leaves nothing in half precision"
        if _ENGINE not in torch.backends.quantized.supported_engines:
            return f"this torch has no quantised engine {_ENGINE}"
        if importlib.util.find_spec("torch.ao.quantization.quantize_fx") is None:
            return f"torch {torch.__version__} has no FX quantisation any more"
        return None

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        torch.backends.quantized.engine = _ENGINE
        # Observing in train mode would move the statistics of BatchNorm.
        module.eval()
        with _quiet():
            try:
                observed = _observed(module, context.model.example(2)[0])
            except Exception as error:  # torch.fx has no common class for what it cannot trace
                first = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise Refused(
                    f"torch.fx cannot trace {context.model.full_name} for quantisation: {first}"
                ) from error
            context.notes["samples"] = pt2e.observe(observed, context)
            exact = copy.deepcopy(observed)
            converted = _converted(observed)
            layer_noise.note_modules(context, exact, converted)
        layers = sum(".quantized" in type(one).__module__ for one in converted.modules())
        if not layers:
            raise Refused(f"no layer to quantise in {context.model.full_name}")
        return EagerModule(converted)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        # Weights are packed for an engine; torch has one at a time.
        torch.backends.quantized.engine = _ENGINE
        with _quiet():
            # Without calibration: the scales come with the weights.
            return _converted(_observed(module.eval(), ()))


def _observed(module: nn.Module, example: tuple[Any, ...]) -> GraphModule:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    if not list(module.children()):
        # Layers are replaced in their parent: a module that is itself one needs a parent.
        module = nn.Sequential(module)
    prepared: GraphModule = prepare_fx(module, get_default_qconfig_mapping(_ENGINE), example)
    return prepared


def _converted(observed: GraphModule) -> nn.Module:
    from torch.ao.quantization.quantize_fx import convert_fx

    converted: nn.Module = convert_fx(observed)
    return converted


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch announces the end of this mode, and tells of observers that saw nothing in rebuild."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
