"""Claims about 2:4 sparsity: the pattern is in the weights, and a sparse kernel computed."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from gauge.evidence.base import Finding, Subject, claim, no_module, packed

# Operators of torch's two backends: CUTLASS, and cuSPARSELt.
_KERNELS = ("_sparse_semi_structured_", "_cslt_sparse_mm")


@claim("pattern_2_4")
def pattern_2_4(subject: Subject) -> Finding:
    """Linear layers that hold at most two weights of each four neighbours, and their share."""
    if subject.module is None:
        return no_module("the 2:4 pattern")
    hidden = packed(subject.module, "the 2:4 pattern")
    if hidden:
        return hidden
    already = {name for name, weight in _weights(subject.baseline) if _holds(weight)}
    weights = dict(_weights(subject.module))
    held = [name for name, one in weights.items() if name not in already and _holds(one)]
    total = sum(weight.numel() for weight in weights.values())
    share = sum(weights[name].numel() for name in held) / total if total else 0.0
    text = f"2 of 4 in {len(held)} of {len(weights)} linear layers, {share:.0%} of their weights"
    numbers = {"layers": len(held), "of": len(weights), "share": share}
    return Finding(bool(held), text if held else f"not applied: {text}", numbers)


@claim("sparse_kernels")
def sparse_kernels(subject: Subject) -> Finding:
    """A kernel for 2:4 sparse matrices ran in a profiled call."""
    ran = {
        name: count
        for name, count in subject.operators.items()
        if any(kernel in name for kernel in _KERNELS)
    }
    if not ran:
        return Finding(False, "no kernel for 2:4 sparse matrices ran", {"kernels": ran})
    text = f"ran {', '.join(f'{name} {count}' for name, count in sorted(ran.items()))}"
    return Finding(True, text, {"kernels": ran})


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach()
            compressed = "SparseSemiStructured" in type(weight).__name__
            yield name, weight.to_dense() if compressed else weight


def _holds(weight: Tensor) -> bool:
    """Whether each four neighbours of a row hold two zeros; a weight of zeros alone does not."""
    if weight.shape[1] % 4 or not weight.any():
        return False
    return bool(((weight.unflatten(1, (-1, 4)) != 0).sum(2) <= 2).all())
