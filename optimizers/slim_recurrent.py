"""Hidden units of recurrent layers, and the layer that reads them.

torch-pruning's support of LSTMs fails with an IndexError; a unit is a row of each gate's weights
and a column of whatever reads the states.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from optimizers import structure
from optimizers.slim_units import Member, Units
from zoo import Batch

CLOSE = 1e-5
"""Of the largest output: how far a removed unit may be from one that nobody reads."""


def groups(module: nn.Module, batch: Batch) -> Iterator[Units]:
    """The units of each nn.LSTM, nn.GRU and nn.RNN whose reader was found.

    A stack of layers shares one width, and so does a pair of directions: their units go together.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.RNNBase) and not layer.proj_size:
            reader = _find_reader(module, name, batch)
            if reader is not None:
                yield units(module, name, reader)


def units(module: nn.Module, name: str, reader: str) -> Units:
    """The units of the recurrent layer `name`, its states read by the layer `reader`."""
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.RNNBase)
    directions = 2 if layer.bidirectional else 1
    gates = layer.get_parameter("weight_hh_l0").shape[0] // layer.hidden_size
    members = []
    for depth in range(layer.num_layers):
        for suffix in ("", "_reverse")[:directions]:
            end = f"l{depth}{suffix}"
            kinds = ["weight_ih", "weight_hh"] + (["bias_ih", "bias_hh"] if layer.bias else [])
            members += [Member(layer, f"{kind}_{end}", 0, repeats=gates) for kind in kinds]
            members.append(Member(layer, f"weight_hh_{end}", 1, reads=True))
            if depth:
                members.append(Member(layer, f"weight_ih_{end}", 1, 1, directions, reads=True))
    numbers: list[tuple[nn.Module, str, int]] = [(layer, "hidden_size", 1)]
    after = module.get_submodule(reader)
    if isinstance(after, nn.RNNBase):
        ends = ("l0", "l0_reverse") if after.bidirectional else ("l0",)
        members += [Member(after, f"weight_ih_{end}", 1, 1, directions, reads=True) for end in ends]
        numbers.append((after, "input_size", directions))
    else:
        members.append(Member(after, "weight", 1, 1, directions, reads=True))
        numbers.append((after, "in_features", directions))
    return Units(f"{name} units", members, numbers)


def _find_reader(module: nn.Module, name: str, batch: Batch) -> str | None:
    """The one layer that reads the states, found by trying; None when no single one does."""
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.RNNBase)
    width = layer.hidden_size * (2 if layer.bidirectional else 1)
    for other, candidate in module.named_modules():
        if other == name or _reads(candidate) != width or layer.hidden_size == 1:
            continue
        if _same(module, name, other, batch):
            return other
    return None


def _reads(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.input_size if isinstance(layer, nn.RNNBase) else None


def _same(module: nn.Module, name: str, reader: str, batch: Batch) -> bool:
    """Whether a unit that is removed is one that nobody reads any more."""
    removed, silent = copy.deepcopy(module), copy.deepcopy(module)
    first = torch.tensor([0])
    units(removed, name, reader).remove(first)
    units(silent, name, reader).switch_off(first)
    args, kwargs = batch
    with torch.no_grad():
        expected = structure.flatten(silent(*args, **kwargs))[1]
        try:
            found = structure.flatten(removed(*args, **kwargs))[1]
        except RuntimeError:  # Sizes that do not fit: another layer reads the states.
            return False
    return all(
        one.shape == other.shape and (one - other).abs().max() <= CLOSE * other.abs().max()
        for one, other in zip(found, expected, strict=True)
    )
