"""The structure of a model's outputs as plain data, so that a flat list of tensors gets it back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from optimizers.base import Refused

Structure = dict[str, Any] | None
"""{"tensor": n}, {"tuple": [...]}, {"list": [...]}, {"dict": {name: ...}} or None."""


def flatten(output: Any) -> tuple[Structure, list[Tensor]]:
    """The structure and its tensors, in the order an export lists them.

    Raises Refused naming the path of anything that plain data cannot name.
    """
    tensors: list[Tensor] = []
    return _describe(output, "output", tensors), tensors


def build(structure: Structure, tensors: Sequence[Tensor]) -> Any:
    """The inverse of `flatten`."""
    if structure is None:
        return None
    ((kind, value),) = structure.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {name: build(part, tensors) for name, part in value.items()}
    parts = [build(part, tensors) for part in value]
    return tuple(parts) if kind == "tuple" else parts


def _describe(value: Any, path: str, tensors: list[Tensor]) -> Structure:
    if value is None:
        return None
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    # Subclasses (named tuples, a library's output classes) could not be made again from data.
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _describe(value[key], f"{path}.{key}", tensors) for key in value}}
    if type(value) in (tuple, list):
        return {type(value).__name__: list(_items(value, path, tensors))}
    raise Refused(
        f"{path} is a {type(value).__name__}: a file can only give back tensors in tuples, lists "
        "and dicts with string keys"
    )


def _items(values: Any, path: str, tensors: list[Tensor]) -> Iterator[Structure]:
    for index, value in enumerate(values):
        yield _describe(value, f"{path}[{index}]", tensors)
