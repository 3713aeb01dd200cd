"""What a model returned, whatever its shape: flatten, copy, join, compare, look for NaN.

Outputs nest tensors, numpy arrays and numbers in mappings, tuples, named tuples, lists and
dataclasses (transformers' ModelOutput included). Containers are told by path, not by type: a list
and a tuple of the same tensors are equal. None holds no tensor and is left out.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Batch = tuple[tuple[Any, ...], dict[str, Any]]

_ROOT = "output"


@dataclass(frozen=True)
class Difference:
    """How far outputs are from a reference.

    relative: the largest difference of a tensor as a share of that tensor's largest absolute
        value in the reference, over all tensors; of finite values only. A tensor that is zero
        throughout is told against the largest value of all tensors, or absolutely.
    path: where it is largest. problem: a sentence when the two cannot be compared number by
        number (structure, shape, kind of dtype, NaN or infinite in one only). nonfinite: how many
        values of the other are NaN or infinite.
    """

    relative: float = 0.0
    path: str | None = None
    problem: str | None = None
    nonfinite: int = 0

    def within(self, tolerance: float) -> bool:
        """Comparable, and nowhere further apart than `tolerance`."""
        return self.problem is None and self.relative <= tolerance


def flatten(outputs: Any) -> dict[str, Tensor]:
    """Tensors by path (`output`, `output.logits`, `output[0].hidden[1]`), in the order they come.

    Numbers become tensors without dimensions; quantised and sparse tensors plain ones. Raises
    TypeError for anything else, naming its path.
    """
    found = {}
    for path, leaf in leaves(outputs):
        tensor = _tensor(leaf)
        if tensor is None:
            raise TypeError(
                f"{path} is a {type(leaf).__name__}, not a tensor or a container of them"
            )
        found[path] = tensor
    return found


def leaves(value: Any, path: str = _ROOT) -> Iterator[tuple[str, Any]]:
    """(path, leaf) of everything that is no container and not None, whatever its type."""
    children = _children(value, path)
    if children is None:
        if value is not None:
            yield path, value
        return
    for inner, _, child in children:
        yield from leaves(child, inner)


def compare(reference: Any, other: Any) -> Difference:
    """The largest difference between two outputs; never raises for a mismatch, only tells it."""
    expected, found = flatten(reference), flatten(other)
    nonfinite = sum(_count_nonfinite(tensor) for tensor in found.values())
    problem = form_problem(expected, found)
    if problem:
        return Difference(problem=problem, nonfinite=nonfinite)
    largest = max((_largest(tensor) for tensor in expected.values()), default=0.0)
    worst, where = 0.0, None
    for path, tensor in expected.items():
        a, b = _wide(tensor), _wide(found[path]).to(tensor.device)
        both = torch.isfinite(a) & torch.isfinite(b)
        apart = int((~both & ~((a == b) | (a.isnan() & b.isnan()))).sum())
        if apart and problem is None:
            problem = f"{path}: {apart} of {a.numel()} values are NaN or infinite in one only"
        difference = _largest((a - b)[both])
        share = difference / (_largest(tensor) or largest or 1.0)
        if share > worst:
            worst, where = share, path
    return Difference(worst, where, problem, nonfinite)


def form_problem(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """In which path, shape or kind of dtype two flattened outputs differ, or None."""
    missing = [path for path in expected if path not in found]
    added = [path for path in found if path not in expected]
    if missing or added:
        parts = [
            f"{word} {', '.join(paths)}"
            for word, paths in (("without", missing), ("with an extra", added))
            if paths
        ]
        return f"structure differs: {' and '.join(parts)}"
    for path, tensor in expected.items():
        other = found[path]
        if tensor.shape != other.shape:
            return f"{path} has shape {list(other.shape)} instead of {list(tensor.shape)}"
        if _kind(tensor) != _kind(other):
            return f"{path} is {other.dtype} instead of {tensor.dtype}"
    return None


def nonfinite(outputs: Any) -> tuple[int, int]:
    """How many values are NaN or infinite, and of how many."""
    tensors = flatten(outputs).values()
    return sum(map(_count_nonfinite, tensors)), sum(tensor.numel() for tensor in tensors)


def first_nonfinite_layer(module: nn.Module, batch: Batch) -> str | None:
    """The layer that is the first to return NaN or infinite for `batch`, or None when none does.

    Found with forward hooks: inner layers return first, so the name is the innermost. The model
    itself is named by its type.
    """
    found: list[str] = []

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(layer: nn.Module, _: Any, outputs: Any) -> None:
            if found:
                return
            # What a layer hands on inside may be any object; only its tensors matter.
            tensors = (_tensor(leaf) for _, leaf in leaves(outputs))
            if any(_count_nonfinite(tensor) for tensor in tensors if tensor is not None):
                found.append(name or type(layer).__name__)

        return look

    handles = [layer.register_forward_hook(hook(name)) for name, layer in module.named_modules()]
    try:
        args, kwargs = fresh(batch)
        with torch.inference_mode():
            module(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def fresh(value: Any) -> Any:
    """The same structure with each tensor cloned: what a call may change without being seen."""
    return _rebuild([value], lambda tensors, _: tensors[0].clone(), _ROOT)


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with `change` applied to each tensor."""
    return _rebuild([value], lambda tensors, _: change(tensors[0]), _ROOT)


def fill(like: Any, tensors: Mapping[str, Tensor]) -> Any:
    """A structure like `like` holding the given tensors, by path as `flatten` names them.

    Raises ValueError where the two name different paths.
    """
    differing = sorted(set(flatten(like)) ^ set(tensors))
    if differing:
        raise ValueError(f"structure differs at {', '.join(differing)}")
    return _rebuild([like], lambda _, path: tensors[path], _ROOT)


def join(outputs: Sequence[Any]) -> Any:
    """Outputs of several batches as one, tensors joined along dimension 0, structure kept.

    Numbers and tensors without dimensions become a tensor with one value a batch. Raises
    ValueError, naming the path, where structures differ or shapes do not join.
    """
    if not outputs:
        raise ValueError("no outputs to join")
    return _rebuild(list(outputs), _join_tensors, _ROOT)


def _join_tensors(tensors: list[Tensor], path: str) -> Tensor:
    if all(tensor.ndim == 0 for tensor in tensors):
        return torch.stack(tensors)
    try:
        return torch.cat(tensors)
    except RuntimeError as error:
        shapes = sorted({tuple(tensor.shape) for tensor in tensors})
        raise ValueError(f"{path}: shapes {shapes} do not join along dimension 0") from error


def _children(value: Any, path: str) -> list[tuple[str, Any, Any]] | None:
    """(path, key, child) of a container, None for a leaf."""
    if isinstance(value, Mapping):
        return [
            (f"{path}.{key}" if isinstance(key, str) else f"{path}[{key!r}]", key, value[key])
            for key in value
        ]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return [(f"{path}.{name}", name, getattr(value, name)) for name in names]
    if isinstance(value, (tuple, list)):
        return [(f"{path}[{index}]", index, child) for index, child in enumerate(value)]
    return None


def _tensor(leaf: Any) -> Tensor | None:
    if isinstance(leaf, Tensor):
        plain = leaf.detach()
        if plain.is_quantized:
            return plain.dequantize()
        return plain if plain.layout == torch.strided else plain.to_dense()
    if isinstance(leaf, (np.ndarray, np.generic, bool, int, float, complex)):
        return torch.as_tensor(leaf)
    return None


def _rebuild(values: list[Any], leaf: Callable[[list[Tensor], str], Tensor], path: str) -> Any:
    """Containers like the first value's, `leaf` applied to the tensors at the same place.

    What is no tensor, number or container is taken from the first value.
    """
    first = values[0]
    children = _children(first, path)
    if children is None:
        tensors = [_tensor(value) for value in values]
        if isinstance(first, (Tensor, np.ndarray)) or (len(values) > 1 and tensors[0] is not None):
            if any(tensor is None for tensor in tensors):
                raise ValueError(f"{path} is a tensor in some outputs only")
            return leaf([tensor for tensor in tensors if tensor is not None], path)
        return first
    every = [_children(value, path) for value in values]
    keys = [[key for _, key, _ in inner] if inner is not None else None for inner in every]
    if any(other != keys[0] for other in keys):
        raise ValueError(f"{path} differs in structure between outputs")
    built = {
        key: _rebuild([inner[index][2] for inner in every if inner is not None], leaf, where)
        for index, (where, key, _) in enumerate(children)
    }
    return _like(first, built)


def _like(container: Any, children: dict[Any, Any]) -> Any:
    """A container of the same type holding `children`."""
    if isinstance(container, MutableMapping):
        filled = copy.copy(container)  # keeps subclasses whose constructor takes something else
        for key, child in children.items():
            filled[key] = child
        return filled
    if isinstance(container, Mapping):
        return dict(children)
    if dataclasses.is_dataclass(container):
        record = copy.copy(container)
        for name, child in children.items():
            object.__setattr__(record, name, child)  # frozen ones too
        return record
    if hasattr(container, "_fields"):
        return type(container)(*children.values())
    return list(children.values()) if isinstance(container, list) else tuple(children.values())


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    if tensor.is_floating_point():
        return "floating"
    return "bool" if tensor.dtype == torch.bool else "integer"


def _wide(tensor: Tensor) -> Tensor:
    # Differences of unsigned or 16-bit numbers would wrap or round.
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _largest(tensor: Tensor) -> float:
    """Largest absolute finite value, 0 where there is none."""
    values = _wide(tensor).abs()
    values = values[torch.isfinite(values)]
    return float(values.max()) if values.numel() else 0.0


def _count_nonfinite(tensor: Tensor) -> int:
    return tensor.numel() - int(torch.isfinite(tensor).sum())
