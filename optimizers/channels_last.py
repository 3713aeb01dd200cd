"""Convolution weights laid out channels last, which oneDNN and cuDNN need no reorder for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from optimizers.base import Context, Refused, Technique, register
from optimizers.eager import EagerModule


@register
class ChannelsLast(Technique):
    """Activations follow: a convolution with such weights gives channels-last outputs."""

    name = "channels_last"
    family = "layout"
    changes = "numerics"
    claims = ("layout",)
    standard = ("resnet18", "mobilenet_v3_small")
    lossless = True

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        if not any(isinstance(layer, kinds) for layer in module.modules()):
            raise Refused(f"no 2-D convolution to lay out in {context.model.full_name}")
        return EagerModule(self.rebuild(module, context.params, context.notes))

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return module.to(memory_format=torch.channels_last)
