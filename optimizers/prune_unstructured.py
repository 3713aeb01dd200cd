"""The smallest weights set to zero, of each layer or of all (L1 magnitude; Han et al., 2015)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import prune

from optimizers.base import Context, Refused, Technique, register
from optimizers.eager import EagerModule

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_SCOPES = ("local", "global")


@register
class PruneUnstructured(Technique):
    """`amount` is the share of the weights that become zero; biases stay.

    `scope`: "local" takes that share of each weight tensor, "global" of all of them together, so
    that layers of large weights lose fewer. Zeros alone make a dense file no smaller and a dense
    kernel no faster: the gates show it.
    """

    name = "prune_unstructured"
    family = "pruning"
    changes = "structure"
    claims = ("zeros",)
    variants = (
        {"amount": 0.5, "scope": "local"},
        {"amount": 0.9, "scope": "local"},
        {"amount": 0.5, "scope": "global"},
        {"amount": 0.9, "scope": "global"},
    )
    scale = ("amount", (0.5, 0.7, 0.9))
    standard = ("digits_mlp", "resnet18")

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        amount, scope = context.params["amount"], context.params["scope"]
        if not 0 < amount < 1:
            raise ValueError(f"amount must lie between 0 and 1, found {amount}")
        if scope not in _SCOPES:
            raise ValueError(f"scope must be one of {', '.join(_SCOPES)}, found {scope}")
        weights = list(_weights(module))
        if not weights:
            raise Refused(f"no layer with weights to prune in {context.model.full_name}")
        method = prune.L1Unstructured(float(amount))
        with torch.no_grad():
            if scope == "local":
                for weight in weights:
                    # The mask of prune.l1_unstructured, made permanent in place: a mask that lives
                    # on the module breaks deepcopy, and removing it there can untie a shared
                    # weight. Contiguous, because the method views the weight as one row.
                    weight.copy_(method.prune(weight.contiguous()))
            else:
                # As prune.global_unstructured does; a shared weight counts once, or its part of
                # the zeros would be too large.
                once = list({id(weight): weight for weight in weights}.values())
                row = torch.cat([weight.flatten() for weight in once])
                parts = method.prune(row).split([weight.numel() for weight in once])
                for weight, part in zip(once, parts, strict=True):
                    weight.copy_(part.reshape(weight.shape))
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
