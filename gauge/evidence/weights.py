"""Claims about weights: zeros, unchanged, fewer parameters, half precision, layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gauge import counting
from gauge.evidence.base import WEIGHTY, Finding, Subject, claim, no_module, packed

LEAST_ZEROS = 0.05
LEAST_HALF = 0.9


def weight_matrices(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights (not biases) of the layers worth optimising, each tensor once."""
    seen = set()
    for prefix, layer in module.named_modules():
        if not isinstance(layer, WEIGHTY):
            continue
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.dim() >= 2 and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{prefix}.{name}" if prefix else name, parameter.detach()


def integer_matrices(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The dequantised weights of layers that torch put in place of FP32 ones."""
    for name, layer in module.named_modules():
        weight = getattr(layer, "weight", None)
        if ".quantized" in type(layer).__module__ and callable(weight):
            yield name, weight().dequantize()


def masks(module: nn.Module) -> list[str]:
    """State-dict names that a pruning still in force leaves."""
    return [name for name in module.state_dict() if name.endswith(("_orig", "_mask"))]


@claim("zeros")
def zeros(subject: Subject) -> Finding:
    """Weights that are exactly zero, in the artifact and in what it computes with."""
    if subject.module is None:
        return _zeros_in_file(subject)
    left = masks(subject.module)
    if left:
        return Finding(False, f"pruning not finalised: {left[0]} and {len(left) - 1} more")
    after = {**dict(weight_matrices(subject.module)), **dict(integer_matrices(subject.module))}
    hidden = None if after else packed(subject.module, "their weights")
    return hidden or _zeros(after, dict(weight_matrices(subject.baseline)), "layers")


def _zeros(after: dict[str, Tensor], before: dict[str, Tensor], what: str) -> Finding:
    total = sum(tensor.numel() for tensor in after.values())
    empty = sum(int((tensor == 0).sum()) for tensor in after.values())
    pruned = sum(bool((tensor == 0).float().mean() >= LEAST_ZEROS) for tensor in after.values())
    share = empty / total if total else 0.0
    held = sum(int((tensor == 0).sum()) for tensor in before.values())
    already = held / max(1, sum(tensor.numel() for tensor in before.values()))
    numbers = {"sparsity": share, "baseline_sparsity": already, "layers": pruned, "of": len(after)}
    text = f"{share:.1%} zeros, in {pruned} of {len(after)} {what}"
    if share < LEAST_ZEROS or share < already + LEAST_ZEROS:
        return Finding(False, f"not applied: {text} ({already:.1%} before)", numbers)
    return Finding(True, text, numbers)


def _zeros_in_file(subject: Subject) -> Finding:
    """The same in an ONNX file's large initializers, quantised ones less their zero point."""
    from gauge.evidence.onnx_graph import weight_arrays

    arrays = weight_arrays(subject)
    if arrays is None:
        return no_module("zeros")
    after = {name: torch.from_numpy((array != 0).astype("uint8")) for name, array in arrays.items()}
    return _zeros(after, dict(weight_matrices(subject.baseline)), "weight tensors")


@claim("unchanged")
def unchanged(subject: Subject) -> Finding:
    """Every state-dict entry bit-identical to the baseline's, in layers of the same types."""
    if subject.module is None:
        return no_module("unchanged weights")
    before, after = subject.baseline.state_dict(), subject.module.state_dict()
    types = [type(one) for one in subject.baseline.modules()]
    if types != [type(one) for one in subject.module.modules()]:
        return Finding(False, "the layers are of other types than the baseline's")
    if set(before) != set(after):
        return Finding(False, f"other entries: {', '.join(sorted(set(before) ^ set(after))[:3])}")
    changed = [name for name in before if not _identical(before[name], after[name])]
    text = f"{len(before) - len(changed)} of {len(before)} tensors bit-identical"
    if changed:
        text += f", {changed[0]} is not"
    return Finding(not changed, text, {"identical": len(before) - len(changed), "of": len(before)})


def _identical(a: Any, b: Any) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return bool(a == b)
    return a.dtype == b.dtype and torch.equal(a, b)


@claim("fewer_parameters")
def fewer_parameters(subject: Subject) -> Finding:
    """Fewer parameters than the baseline (zeros are parameters all the same)."""
    if subject.module is None:
        return no_module("its parameters")
    hidden = packed(subject.module, "their parameters")
    if hidden:
        return hidden
    before = sum(parameter.numel() for parameter in subject.baseline.parameters())
    after = sum(parameter.numel() for parameter in subject.module.parameters())
    numbers = {"parameters": after, "baseline": before}
    text = f"{after:,} of {before:,} parameters"
    return Finding(0 < after < before, text, numbers)


@claim("fewer_macs")
def fewer_macs(subject: Subject) -> Finding:
    """Fewer multiply-accumulates in one call, as torch's FLOP counter sees them."""
    if subject.module is None:
        return no_module("its operations")
    hidden = packed(subject.module, "their operations")
    if hidden:
        return hidden
    before, after = _macs(subject.baseline, subject), _macs(subject.module, subject)
    numbers = {"macs": after, "baseline": before}
    return Finding(0 < after < before, f"{after:,} of {before:,} multiply-accumulates", numbers)


def _macs(module: nn.Module, subject: Subject) -> int:
    own = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)

    def cast(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(own) if floating else value

    args, kwargs = subject.batch
    cast_kwargs = {name: cast(value) for name, value in kwargs.items()}
    return counting.work(module, (tuple(map(cast, args)), cast_kwargs)).macs


@claim("half")
def half(subject: Subject) -> Finding:
    """Weights are in the target's format, and so is what layers return while running."""
    module = subject.module
    if module is None:
        return no_module("half precision")
    wanted = getattr(torch, subject.target.dtype)
    sizes = [(p.dtype, p.numel()) for p in module.parameters() if p.is_floating_point()]
    total = sum(size for _, size in sizes)
    share = sum(size for dtype, size in sizes if dtype == wanted) / total if total else 0.0
    returned: dict[torch.dtype, int] = {}

    def hook(layer: nn.Module, _: Any, result: Any) -> None:
        if isinstance(result, Tensor) and result.is_floating_point():
            returned[result.dtype] = returned.get(result.dtype, 0) + 1

    layers = [layer for layer in module.modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        subject.run()
    finally:
        for handle in handles:
            handle.remove()
    count, of = returned.get(wanted, 0), sum(returned.values())
    text = f"{share:.0%} of weights and {count} of {of} layer outputs in {subject.target.dtype}"
    ran = of == 0 or count / of >= LEAST_HALF
    return Finding(
        share >= LEAST_HALF and ran, text, {"weights": share, "outputs": count, "of": of}
    )


@claim("layout")
def layout(subject: Subject) -> Finding:
    """Convolution weights lie channels last, and so do convolutions' outputs while running."""
    module = subject.module
    if module is None:
        return no_module("its memory layout")
    layers = [one for one in module.modules() if isinstance(one, nn.Conv2d)]
    # A 1x1 kernel is laid out both ways at once and tells nothing.
    telling = [one.weight for one in layers if not one.weight.is_contiguous() or _plain(one.weight)]
    laid = sum(weight.is_contiguous(memory_format=torch.channels_last) for weight in telling)
    outputs: list[bool] = []

    def hook(layer: nn.Module, _: Any, result: Tensor) -> None:
        if result.dim() == 4 and result.shape[1] > 1 and result.shape[2] * result.shape[3] > 1:
            outputs.append(result.is_contiguous(memory_format=torch.channels_last))

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        subject.run()
    finally:
        for handle in handles:
            handle.remove()
    numbers = {"weights": laid, "of": len(telling), "outputs": sum(outputs), "ran": len(outputs)}
    text = (
        f"{laid} of {len(telling)} convolution weights and {sum(outputs)} of {len(outputs)} "
        "outputs channels last"
    )
    found = bool(telling) and laid == len(telling) and sum(outputs) >= 0.9 * len(outputs)
    return Finding(found, text, numbers)


def _plain(weight: Tensor) -> bool:
    """Whether the weight lies row by row only."""
    return not weight.is_contiguous(memory_format=torch.channels_last)
