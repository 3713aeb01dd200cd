"""Packed quantised layers as plain data: torch's own objects cannot be read without running code.

torch.save stores the packed weights of a dynamically quantised LSTM, GRU or cell, and those of
convolutions that a model calls as functions, as ScriptObjects, which
`torch.load(weights_only=True)` refuses. Their parts are tensors, numbers and strings.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LINEAR = "packed linear"
_CELL = "packed cell"
_CONVOLUTION = "packed convolution"


def to_plain(value: Any) -> Any:
    """A state-dict entry without ScriptObjects; tensors keep no storage that is not theirs.

    Raises TypeError for a packed object of an unknown kind.
    """
    if isinstance(value, torch.ScriptObject):
        return _unpack(value)
    if isinstance(value, Tensor):
        return _compact(value.detach())
    if isinstance(value, tuple):
        return tuple(to_plain(part) for part in value)
    return value


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`, packed for the quantised engine in use."""
    match value:
        case (str(tag), weight, bias) if tag == _LINEAR:
            return torch.ops.quantized.linear_prepack(weight, bias)
        case (str(tag), inputs, hidden, biases, reduce_range) if tag == _CELL:
            return torch.ops.quantized.make_quantized_cell_params_dynamic(
                from_plain(inputs), from_plain(hidden), *biases, reduce_range
            )
        case (str(tag), str(kind), weight, bias, how) if tag == _CONVOLUTION:
            return getattr(torch.ops.quantized, f"{kind}_prepack")(weight, bias, *how)
    return value


def _compact(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy where it is a view of a larger storage (saved whole if not)."""
    if tensor.layout is not torch.strided:
        return tensor
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def _unpack(packed: torch.ScriptObject) -> tuple[Any, ...]:
    kind = str(packed._type()).rpartition(".")[2]
    if kind == "LinearPackedParamsBase":
        weight, bias = torch.ops.quantized.linear_unpack(packed)
        return _LINEAR, weight, None if bias is None else bias.detach()
    if kind == "CellParamsBase":
        # (engine's name, biases, [], [reduce_range], packed weights)
        state: Any = packed.__getstate__()
        if state[0][0] == "quantized_dynamic":
            _, biases, _, (reduce_range,), (inputs, hidden) = state[0]
            biases = [bias.detach() for bias in biases]
            return _CELL, _unpack(inputs), _unpack(hidden), biases, bool(reduce_range)
    if kind in _CONVOLUTIONS:
        return _convolution(packed, _CONVOLUTIONS[kind])
    raise TypeError(f"cannot save a packed {kind} as plain data")


# One dimension is two, of which the first is one long.
_CONVOLUTIONS = {"Conv2dPackedParamsBase": "conv2d", "Conv3dPackedParamsBase": "conv3d"}


def _convolution(packed: torch.ScriptObject, kind: str) -> tuple[Any, ...]:
    def asked(name: str) -> Any:
        return getattr(torch.ops.quantized, f"{kind}_{name}")(packed)

    weight, bias = asked("unpack")
    how: list[Any] = [list(asked("stride")), list(asked("padding"))]
    if asked("transpose"):
        how.append(list(asked("output_padding")))
        kind = kind.replace("conv", "conv_transpose")
    how += [list(asked("dilation")), int(asked("groups"))]
    return _CONVOLUTION, kind, weight, None if bias is None else bias.detach(), how
