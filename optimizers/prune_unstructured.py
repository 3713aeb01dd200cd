"""The smallest weights set to zero, layer by layer (L1 magnitude; Han et al., 2015)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import prune

from optimizers.base import Context, Refused, Technique, register
from optimizers.eager import EagerModule

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@register
class PruneUnstructured(Technique):
    """`amount` is the share of each weight tensor that becomes zero; biases stay.

    Zeros alone make a dense file no smaller and a dense kernel no faster: the gates show it.
    """

    name = "prune_unstructured"
    family = "pruning"
    changes = "structure"
    claims = ("zeros",)
    variants = ({"amount": 0.5}, {"amount": 0.9})

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        amount = context.params["amount"]
        if not 0 < amount < 1:
            raise ValueError(f"amount must lie between 0 and 1, found {amount}")
        weights = list(_weights(module))
        if not weights:
            raise Refused(f"no layer with weights to prune in {context.model.full_name}")
        method = prune.L1Unstructured(float(amount))
        with torch.no_grad():
            for weight in weights:
                # The mask of prune.l1_unstructured, made permanent in place: a mask that lives on
                # the module breaks deepcopy, and removing it there can untie a shared weight.
                # Contiguous, because the method views the weight as one row.
                weight.copy_(method.prune(weight.contiguous()))
        return EagerModule(module)


def _weights(module: nn.Module) -> Iterator[nn.Parameter]:
    """Weight matrices and kernels. A shared one comes again, and loses nothing more by it."""
    for layer in module.modules():
        for name, weight in layer.named_parameters(recurse=False):
            if _prunable(layer, name):
                yield weight


def _prunable(layer: nn.Module, name: str) -> bool:
    if isinstance(layer, _LAYERS):
        return name == "weight"
    if isinstance(layer, nn.MultiheadAttention):
        return name.endswith("proj_weight")
    return isinstance(layer, _RECURRENT) and name.startswith("weight_")
