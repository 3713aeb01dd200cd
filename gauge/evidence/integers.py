"""The claim `integer_kernels`: integer arithmetic ran, in how many of the layers it could."""

from __future__ import annotations

import torch
from torch import nn

from gauge.evidence.base import WEIGHTY, Finding, Subject, claim, floating, no_module
from gauge.evidence.runtimes import inspector, pretended

# Operators of torch that compute in integers. `quantize_per_tensor` alone computes nothing.
_INTEGER = ("linear", "conv", "lstm", "gru", "rnn", "matmul", "bmm", "mm", "add", "mul", "cat")


def _integer_operator(name: str) -> bool:
    space, _, short = name.partition("::")
    if space in ("quantized", "onednn", "_quantized"):
        return any(word in short for word in _INTEGER)
    return short.startswith(("_int_mm", "int_mm", "quantized_lstm", "quantized_gru", "fbgemm_"))


def _quantized_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers that torch put in place of FP32 ones, without the packing helpers inside them."""
    found = []
    for name, layer in module.named_modules():
        kind = type(layer)
        helper = "Packed" in kind.__name__ or "Quantize" in kind.__name__
        if ".quantized" in kind.__module__ and not helper:
            found.append((name, layer))
    return found


def _packed_shapes(module: nn.Module) -> list[tuple[int, ...]]:
    """Of the weights that a traced module hands to integer operators itself, without a layer."""
    found: list[tuple[int, ...]] = []
    for value in vars(module).values():
        if isinstance(value, torch.ScriptObject):
            kind = str(value._type()).rpartition(".")[2].removesuffix("PackedParamsBase").lower()
            unpack = getattr(torch.ops.quantized, f"{kind}_unpack", None)
            if unpack is not None:
                found.append(_sides(unpack(value)[0]))
    return found


def _sides(weight: torch.Tensor) -> tuple[int, ...]:
    """A convolution in one dimension is packed as one in two, of which one is 1 long."""
    return tuple(side for side in weight.shape if side != 1)


@claim("integer_kernels")
def integer_kernels(subject: Subject) -> Finding:
    """Integer operators that really ran, and the share of the layers that were converted."""
    looks = inspector(subject)
    if looks is not None:
        shared: Finding = pretended(subject) or looks.integer_share(subject)
        return shared
    if subject.module is None:
        return no_module("integer kernels")
    eligible = {
        name: sum(parameter.numel() for parameter in layer.parameters())
        for name, layer in subject.baseline.named_modules()
        if isinstance(layer, WEIGHTY)
    }
    converted = [name for name, _ in _quantized_layers(subject.module)]
    # A converted layer inside another one (a cell of an LSTM) belongs to it.
    named = {name for name in eligible if any(_inside(one, name) for one in converted)}
    weights = {
        name: _sides(layer.weight)
        for name, layer in subject.baseline.named_modules()
        if name in eligible and hasattr(layer, "weight")
    }
    for shape in _packed_shapes(subject.module):
        # Called as a function: any layer that has such a weight, each once.
        like = [name for name, own in weights.items() if own == shape and name not in named]
        named.update(like[:1])
    ran = {name: n for name, n in subject.operators.items() if _integer_operator(name)}
    total = sum(eligible.values())
    share = sum(eligible[name] for name in named) / total if total else 0.0
    text = f"{len(named)} of {len(eligible)} layers converted, {share:.0%} of weight bytes"
    numbers = {"layers": len(named), "of": len(eligible), "share": share, "kernels": ran}
    if not named:
        return Finding(False, f"not applied: {text}", numbers)
    if not ran:
        return Finding(False, f"{text}, but no integer kernel ran", numbers)
    before, after = floating(subject.baseline_operators), floating(subject.operators)
    if before and not after < before:
        # Integer operators at the side of it, and the layers' own work as it was.
        text += f", but {after} layers ran in floating point, and {before} do in the baseline"
        return Finding(False, text, numbers)
    return Finding(True, f"{text}; ran {', '.join(sorted(ran))}", numbers)


def _inside(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")
