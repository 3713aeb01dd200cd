"""What a graph takes and gives, in the terms of the module it was exported from."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from optimizers.base import Refused
from optimizers.structure import Structure, build
from zoo import Batch


@dataclass(frozen=True)
class Interface:
    """How a module's call maps to a graph's inputs and outputs; plain data.

    positional: the parameters that a position can give, in order.
    inputs: parameter -> {"name", "dtype"} of the graph's input.
    constants: arguments that the graph has baked in. unused: tensors it does not take.
    outputs: the structure of what the module returned.
    """

    positional: list[str]
    inputs: dict[str, dict[str, str]]
    constants: dict[str, Any]
    unused: list[str]
    outputs: Structure

    @cached_property
    def _slots(self) -> dict[str, tuple[str, torch.dtype]]:
        """Parameter -> the graph's name and dtype for it."""
        found = {}
        for name, slot in self.inputs.items():
            dtype = getattr(torch, slot["dtype"].removeprefix("torch."), None)
            if not isinstance(dtype, torch.dtype):
                raise TypeError(f"input {name!r} has the dtype {slot['dtype']!r}, which is none")
            found[name] = (slot["name"], dtype)
        return found

    def feeds(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        """Tensors by the graph's names.

        Raises TypeError naming the argument for a wrong dtype, another constant than was
        exported, and a missing or unexpected argument.
        """
        names, slots = self.positional, self._slots
        # One tensor by its position is the usual call, and cheap models feel what it costs.
        if len(args) == len(slots) == 1 and not kwargs and names and names[0] in slots:
            (value,), (name, dtype) = args, slots[names[0]]
            if isinstance(value, Tensor) and value.dtype is dtype:
                return {name: value}
        if len(args) > len(self.positional):
            raise TypeError(f"takes {len(self.positional)} arguments, found {len(args)}")
        found: dict[str, Tensor] = {}
        for name, value in (*zip(self.positional, args, strict=False), *kwargs.items()):
            slot = self.inputs.get(name)
            if slot is None:
                self._check_other(name, value)
            elif slot["name"] in found:
                raise TypeError(f"argument {name!r} is given twice")
            elif not isinstance(value, Tensor) or str(value.dtype) != slot["dtype"]:
                kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"argument {name!r} must be {slot['dtype']}, found {kind}")
            else:
                found[slot["name"]] = value
        if len(found) != len(self.inputs):
            missing = [name for name, slot in self.inputs.items() if slot["name"] not in found]
            raise TypeError(f"missing arguments: {', '.join(missing)}")
        return found

    def outputs_from(self, tensors: Sequence[Tensor]) -> Any:
        """The module's outputs from the graph's, in the graph's order."""
        return build(self.outputs, tensors)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it; `Interface(**plain)` is the inverse."""
        return asdict(self)

    def _check_other(self, name: str, value: Any) -> None:
        if name in self.unused:
            return
        baked = self.constants.get(name)
        if name not in self.constants:
            raise TypeError(f"unexpected argument {name!r}")
        if isinstance(value, Tensor) or value != baked:
            kind = "a tensor" if isinstance(value, Tensor) else repr(value)
            raise TypeError(f"argument {name!r} is {baked!r} in the exported graph, found {kind}")


@dataclass(frozen=True)
class Call:
    """One call of a module, its arguments named as its signature names them.

    args, kwargs: the call itself. arguments: as bound, `*args` a tuple, `**kwargs` a dict, without
    those left to their defaults. flat: all arguments by single names, defaults included, in the
    signature's order. positional: the names of `flat` that a position can give.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    arguments: dict[str, Any]
    flat: dict[str, Any]
    positional: list[str]

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.flat.items() if isinstance(value, Tensor)}

    @property
    def constants(self) -> dict[str, Any]:
        return {name: value for name, value in self.flat.items() if not isinstance(value, Tensor)}


def bind(module: nn.Module, batch: Batch) -> Call:
    """Name the arguments of a call.

    Raises Refused for an argument that is neither a tensor nor a plain constant.
    """
    signature = inspect.signature(module.forward)
    bound = signature.bind(*batch[0], **batch[1])
    given = (bound.args, bound.kwargs, dict(bound.arguments))
    bound.apply_defaults()
    flat: dict[str, Any] = {}
    positional: list[str] = []
    for parameter in signature.parameters.values():
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            names = [f"{parameter.name}_{n}" for n in range(len(value))]
            flat |= zip(names, value, strict=True)
            positional += names
        elif parameter.kind is parameter.VAR_KEYWORD:
            flat |= value
        else:
            flat[parameter.name] = value
            if parameter.kind is not parameter.KEYWORD_ONLY:
                positional.append(parameter.name)
    for name, value in flat.items():
        if not isinstance(value, (Tensor, bool, int, float, str, type(None))):
            raise Refused(
                f"argument {name!r} is a {type(value).__name__}: a graph takes tensors, and plain "
                "constants baked in"
            )
    return Call(*given, flat, positional)


def growing(small: Tensor, large: Tensor) -> list[int]:
    """Dimensions that grow with the batch, from the same argument at two batch sizes."""
    return [n for n, (a, b) in enumerate(zip(small.shape, large.shape, strict=True)) if a != b]
