"""The structure of a slimmed module as plain data, and the way back from an untrained one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Sizes = dict[str, dict[str, Any]]
"""{"tensors": {name: shape}, "settings": {"layer.attribute": number}}."""

_Settings = dict[str, int]


def sizes(module: nn.Module) -> Sizes:
    """Shapes of parameters and buffers, and the whole numbers that layers keep about them."""
    return {
        "tensors": {name: list(one.shape) for name, one in _tensors(module).items()},
        "settings": _settings(module),
    }


def changed(before: Sizes, module: nn.Module) -> Sizes:
    """What of `sizes` is other now than it was; for `resize`.

    Raises ValueError where the names differ: then more changed than sizes.
    """
    after = sizes(module)
    for part in before:
        other = set(before[part]) ^ set(after[part])
        if other:
            raise ValueError(f"{part} came or went while channels were removed: {sorted(other)[0]}")
    return {
        part: {name: value for name, value in after[part].items() if value != before[part][name]}
        for part in before
    }


def resize(module: nn.Module, notes: Sizes) -> None:
    """Give an untrained module the sizes of a slimmed one; its weights then load strictly.

    Tied parameters stay tied, and memory formats what they were.
    """
    made: dict[int, Tensor] = {}
    for name, shape in notes["tensors"].items():
        prefix, _, own = name.rpartition(".")
        layer = module.get_submodule(prefix)
        old = getattr(layer, own)
        if id(old) not in made:
            made[id(old)] = like(old, old.new_zeros(shape))
        setattr(layer, own, made[id(old)])
    for name, value in notes["settings"].items():
        prefix, _, own = name.rpartition(".")
        setattr(module.get_submodule(prefix), own, value)


def like(old: Tensor, values: Tensor) -> Tensor:
    """`values` as a parameter where `old` is one, in its memory format."""
    values = values.contiguous(memory_format=_memory_format(old))
    if isinstance(old, nn.Parameter):
        return nn.Parameter(values, requires_grad=old.requires_grad)
    return values


def laid_channels_last(module: nn.Module) -> list[str]:
    """Names of the tensors that lie channels last, and not also row by row."""
    last = torch.channels_last
    return [name for name, one in _tensors(module).items() if _memory_format(one) is last]


def lay_channels_last(module: nn.Module, names: list[str]) -> None:
    """Lay the named tensors channels last again: torch-pruning makes new ones row by row."""
    for name in names:
        one = _tensors(module)[name]
        one.data = one.data.contiguous(memory_format=torch.channels_last)


def _memory_format(one: Tensor) -> torch.memory_format:
    last = one.dim() == 4 and one.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not one.is_contiguous() else torch.contiguous_format


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    # Under all their names: a tied parameter has to be replaced in every layer.
    return dict(module.named_parameters(remove_duplicate=False)) | dict(
        module.named_buffers(remove_duplicate=False)
    )


def _settings(module: nn.Module) -> _Settings:
    return {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, layer in module.named_modules()
        for name, value in vars(layer).items()
        if type(value) is int
    }
