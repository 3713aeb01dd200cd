"""Linear layers and 1x1 convolutions as a product of two smaller ones (truncated SVD)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import slim_attention
from optimizers.base import Context, Refused, Technique, register
from optimizers.eager import EagerModule
from optimizers.finetune import finetune
from optimizers.own_layers import own_layers, put

LEAST = 32
"""Smallest side of a weight that is factorised: ten classes are ten directions, all needed."""

EPOCHS = 8.0
RATE = 1e-3


@register
class LowRank(Technique):
    """The rank that leaves `ratio` of a weight's parameters, by truncated SVD.

    The best approximation of that rank in the Frobenius norm (Eckart and Young, 1936), as in
    Denton et al., 2014. Layers with fewer than 32 inputs or outputs stay, and so do those whose
    weight is shared. `tune`: trained afterwards, with the full-rank model as the teacher.
    """

    name = "low_rank"
    family = "factorisation"
    changes = "structure"
    claims = ("low_rank", "fewer_parameters")
    variants = ({"ratio": 0.5, "tune": True}, {"ratio": 0.7, "tune": False})
    scale = ("ratio", (0.7, 0.5, 0.3))
    standard = ("vit", "digits_mlp")

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        ratio, tune = context.params["ratio"], context.params["tune"]
        if not 0 < ratio < 1:
            raise ValueError(f"ratio must lie between 0 and 1, found {ratio}")
        if tune:
            context.train()  # Refuses before the work is done.
        teacher = copy.deepcopy(module)
        attention = slim_attention.open_attention(module)
        layers = dict(eligible(module))
        if not layers:
            raise Refused(
                f"no linear layer or 1x1 convolution of at least {LEAST} inputs and outputs to "
                f"factorise in {context.model.full_name}"
            )
        ranks, energy = {}, {}
        for name, layer in layers.items():
            rank = rank_for(layer, ratio)
            factors = pair(layer, rank)
            energy[name] = fill(factors, layer.get_parameter("weight").detach().flatten(1))
            put(module, name, factors)
            ranks[name] = rank
        context.notes |= {"attention": attention, "ranks": ranks, "energy": energy}
        if tune:
            context.notes["finetune"] = finetune(
                module, context, epochs=EPOCHS, learning_rate=RATE, teacher=teacher
            )
        return EagerModule(module)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        slim_attention.put_attention(module, notes["attention"])
        for name, rank in notes["ranks"].items():
            put(module, name, pair(module.get_submodule(name), rank))
        return module


def eligible(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers that are one matrix, large enough, whose weight is theirs alone."""
    kinds = {type(one) for one in module.modules() if isinstance(one, nn.Conv2d)}
    for name, layer in own_layers(module, nn.Linear, *kinds):
        if _is_matrix(layer) and min(layer.get_parameter("weight").shape[:2]) >= LEAST:
            yield name, layer


def _is_matrix(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return (
            layer.kernel_size == (1, 1)
            and layer.groups == 1
            and layer.padding == (0, 0)
            and layer.stride[0] == layer.stride[1]
        )
    return True


def rank_for(layer: nn.Module, ratio: float) -> int:
    """The largest rank whose two factors have at most `ratio` of the weight's parameters."""
    outputs, inputs = layer.get_parameter("weight").shape[:2]
    return max(1, int(ratio * outputs * inputs / (outputs + inputs)))


def pair(layer: nn.Module, rank: int) -> nn.Sequential:
    """Two untrained layers in a row that stand for `layer`, in its memory format."""
    bias = layer.get_parameter("bias") if _has_bias(layer) else None
    if isinstance(layer, nn.Conv2d):
        first: nn.Module = nn.Conv2d(layer.in_channels, rank, 1, stride=layer.stride[0], bias=False)
        second: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=bias is not None)
    else:
        assert isinstance(layer, nn.Linear)
        first = nn.Linear(layer.in_features, rank, bias=False)
        second = nn.Linear(rank, layer.out_features, bias=bias is not None)
    if bias is not None:
        second.bias = nn.Parameter(bias.detach().clone())
    return nn.Sequential(first, second).train(layer.training)


def _has_bias(layer: nn.Module) -> bool:
    return getattr(layer, "bias", None) is not None


def fill(factors: nn.Module, weight: Tensor) -> float:
    """Give two layers the best factors of `weight` (float [outputs, inputs]).

    Returns the share of its energy (squared singular values) that their rank holds.
    """
    first, second = factors.get_parameter("0.weight"), factors.get_parameter("1.weight")
    rank = first.shape[0]
    # In double: the error of a float SVD of 1,000 columns would show beside the truncation.
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    root = values[:rank].sqrt()
    with torch.no_grad():
        first.copy_((root[:, None] * right[:rank]).reshape(first.shape))
        second.copy_((left[:, :rank] * root).reshape(second.shape))
    return float(values[:rank].square().sum() / values.square().sum())
