"""Linear weights in 4 bits, activations in bfloat16, on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from optimizers import weight_only_int8
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from zoo import Model

_DIVISOR = 128
"""Features that the packed layout of torch's 4-bit product takes at a time."""


@register
class WeightOnlyInt4(Technique):
    """torchao's weights with a scale and a zero point for each group of inputs of a channel."""

    name = "weight_only_int4"
    family = "quantization"
    changes = "numerics"
    claims = ("integer_weights",)
    variants = ({"group": 64}, {"group": 128})
    standard = ("minilm",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cuda":
            return "torchao's packed 4-bit weights have kernels on CUDA only"
        if target.dtype != "bfloat16":
            return "4-bit products are computed in bfloat16: use target bf16"
        return weight_only_int8.missing()

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        layers = _eligible(module, context.params["group"])
        if not layers:
            raise Refused(
                f"no Linear layer of {context.model.full_name} has a weight of its own with "
                f"inputs in multiples of {_DIVISOR}"
            )
        context.notes["layers"] = len(layers)
        return EagerModule(_quantise(module, context.params["group"]))

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return _quantise(module, params["group"])


def _eligible(module: nn.Module, group: int) -> list[str]:
    found = dict(module.named_modules())
    return [
        name
        for name in weight_only_int8.eligible(module)
        if found[name].in_features % _DIVISOR == 0 and found[name].in_features % group == 0
    ]


def _quantise(module: nn.Module, group: int) -> nn.Module:
    from torchao.quantization import Int4WeightOnlyConfig, quantize_

    chosen = set(_eligible(module, group))
    # The weights are packed by the kernels' own code, which exists on the GPU only.
    parent = nn.ModuleDict({"module": module.to("cuda", torch.bfloat16)})
    config = Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d")
    quantize_(parent, config, filter_fn=lambda _, name: name.partition(".")[2] in chosen)
    found: nn.Module = parent["module"]
    return found
