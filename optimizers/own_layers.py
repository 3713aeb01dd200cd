"""Layers that may be changed by themselves: nobody else reads their weight or skips their call."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

_CLOSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Their own forward reads the weights of the layers inside, and never calls these."""


def own_layers(module: nn.Module, *kinds: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Layers of exactly these kinds, with the name to replace them under.

    Not the module itself, which cannot be replaced inside itself; not those inside layers that
    read their weights (torch's attention and encoder layers); not those whose weight is tied.
    """
    closed = {
        id(inside)
        for layer in module.modules()
        if isinstance(layer, _CLOSED)
        for inside in layer.modules()
    }
    owners: dict[int, int] = {}
    for _, one in module.named_parameters(remove_duplicate=False):
        owners[id(one)] = owners.get(id(one), 0) + 1
    for name, layer in module.named_modules():
        if not name or type(layer) not in kinds or id(layer) in closed:
            continue
        if owners[id(layer.get_parameter("weight"))] == 1:
            yield name, layer


def put(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in another's place."""
    prefix, _, own = name.rpartition(".")
    setattr(module.get_submodule(prefix), own, layer)
