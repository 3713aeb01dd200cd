"""Linear weights in int8, activations and arithmetic in floating point: smaller, not faster."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

from torch import nn

from optimizers import layer_noise
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from zoo import Model


def missing() -> str | None:
    """A sentence saying how torchao is installed, or None."""
    if importlib.util.find_spec("torchao") is None:
        return "torchao is not installed (pip install optgauge[torchao])"
    return None


def eligible(module: nn.Module) -> list[str]:
    """Linear layers whose weight is theirs alone: a tied one would be stored twice."""
    uses: dict[int, int] = {}
    for _, parameter in module.named_parameters(remove_duplicate=False):
        uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    return [
        name
        for name, layer in module.named_modules()
        # Attention reads the weight of its output layer itself, past the layer's own call.
        if type(layer) is nn.Linear and uses[id(layer.weight)] == 1
    ]


@register
class WeightOnlyInt8(Technique):
    """torchao's weights with one scale an output channel, made floats again in every call."""

    name = "weight_only_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("integer_weights",)
    standard = ("vit",)

    def refuses(self, model: Model, target: Device) -> str | None:
        return missing()

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        layers = eligible(module)
        if not layers:
            raise Refused(f"no Linear layer with a weight of its own in {context.model.full_name}")
        context.notes["layers"] = len(layers)
        exact = copy.deepcopy(module)
        module = _quantise(module)
        layer_noise.note_modules(context, exact, module)
        return EagerModule(module)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return _quantise(module)


def _quantise(module: nn.Module) -> nn.Module:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    chosen = set(eligible(module))
    # quantize_ replaces weights of children only: a module that is itself a Linear needs a parent.
    parent = nn.ModuleDict({"module": module})
    quantize_(
        parent,
        Int8WeightOnlyConfig(),
        filter_fn=lambda _, name: name.partition(".")[2] in chosen,
    )
    found: nn.Module = parent["module"]
    return found
