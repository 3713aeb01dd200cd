"""What a call of a module takes whoever computes it: parameters, multiply-accumulates, bytes.

Counted in torch's own operators, not measured: a runtime that fuses or skips nothing moves at
least these bytes, and a cache that holds all of it moves none of them from memory.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from gauge.outputs import Batch


@dataclass(frozen=True)
class Work:
    """parameters: of the module, each tensor once. macs: multiply-accumulates of one call in
    matrix products, convolutions and attention. weights, activations: elements that these
    operators take and give: weights once a call, activations once an operator."""

    parameters: int
    macs: int
    weights: int
    activations: int

    def traffic(self, weight_bytes: float, activation_bytes: float) -> float:
        """Bytes moved in a call where an element of each takes so many."""
        return self.weights * weight_bytes + self.activations * activation_bytes


def work(module: nn.Module, batch: Batch) -> Work:
    """Count one call with these arguments, which must fit the module's device and format."""
    owned = {one.untyped_storage().data_ptr() for one in module.parameters()}
    args, kwargs = batch
    counter = FlopCounterMode(display=False)
    # Not inference_mode: under it the counter sees no operators below the module's own.
    with torch.no_grad(), _in_plain_operators(), _Operands(owned) as seen, counter:
        module(*args, **kwargs)
    return Work(
        parameters=sum(one.numel() for one in module.parameters()),
        macs=counter.get_total_flops() // 2,
        weights=sum(seen.weights.values()),
        activations=seen.activations,
    )


class _Operands(TorchDispatchMode):
    """Elements that the operators with multiplications take and give."""

    def __init__(self, owned: set[int]) -> None:
        super().__init__()
        self.owned = owned
        self.weights: dict[int, int] = {}
        self.activations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            for one in _tensors((args, kwargs)):
                place = one.untyped_storage().data_ptr()
                if place in self.owned:
                    self.weights[place] = max(self.weights.get(place, 0), one.numel())
                else:
                    self.activations += one.numel()
            self.activations += sum(one.numel() for one in _tensors(result))
        return result


def _tensors(values: Any) -> Iterator[Tensor]:
    return (one for one in tree_leaves(values) if isinstance(one, Tensor))


@contextlib.contextmanager
def _in_plain_operators() -> Iterator[None]:
    """Attention and recurrent layers as products that the counter knows.

    It knows nothing of the operators that compute a whole layer at once, and a layer that was
    opened to be pruned would seem to do more than the closed one it was made from.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            # Every use of this switch tells of Intel's GPUs.
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
