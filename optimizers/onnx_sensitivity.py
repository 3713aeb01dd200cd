"""Which layers of a quantised graph do the damage, and how many must stay in floating point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Measure = Callable[[Sequence[str] | None, Sequence[str]], float]
"""(nodes to quantise, None for all; nodes to leave alone) → dB at the output."""


@dataclass(frozen=True)
class Layer:
    """A node that holds weights, and the activation that a runtime fuses into it, if any."""

    name: str
    activation: str | None

    @property
    def nodes(self) -> list[str]:
        return [self.name] if self.activation is None else [self.name, self.activation]


def weighty(graph: Any, kinds: Sequence[str]) -> list[Any]:
    """Nodes of these kinds with weights among their inputs, in the graph's order."""
    weights = {tensor.name for tensor in graph.initializer}
    return [
        node
        for node in graph.node
        if node.op_type in kinds and any(name in weights for name in node.input[1:])
    ]


def layers(graph: Any, kinds: Sequence[str]) -> list[Layer]:
    """Nodes with weights (`weighty`), each with the activation that is fused into it."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in weighty(graph, kinds):
        after = readers.get(node.output[0], [])
        fused = len(after) == 1 and after[0].op_type in ("Clip", "Relu")
        found.append(Layer(node.name, after[0].name if fused else None))
    return found


def sqnr(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Signal to quantisation noise in dB over all outputs; at most 200, -200 if not finite."""
    signal = sum(float(one.double().pow(2).sum()) for one in expected)
    pairs = zip(expected, found, strict=True)
    noise = sum(float((a.double() - b.double()).pow(2).sum()) for a, b in pairs)
    if not math.isfinite(noise):
        return -200.0
    if noise <= signal * 1e-20:
        return 200.0
    return 10 * math.log10(signal / noise) if signal else -200.0


def worst_first(candidates: Sequence[Layer], measure: Measure) -> list[tuple[Layer, float]]:
    """Each layer with the dB at the output when it alone is quantised; the most harmful first."""
    told = [(layer, measure(layer.nodes, ())) for layer in candidates]
    return sorted(told, key=lambda one: one[1])


def fewest(ranked: Sequence[Layer], measure: Measure, wanted: float) -> tuple[list[Layer], float]:
    """The fewest of the worst layers whose staying in floating point gives `wanted` dB.

    By bisection over how many: more of them in floating point is taken to do no harm. Returns them
    and the dB reached. Where all of them but one do not suffice, that many are returned.
    """
    low, high = 0, max(len(ranked) - 1, 0)
    reached = {}
    while low < high:
        middle = (low + high) // 2
        reached[middle] = measure(None, [layer.name for layer in ranked[:middle]])
        if reached[middle] >= wanted:
            high = middle
        else:
            low = middle + 1
    if high not in reached:
        reached[high] = measure(None, [layer.name for layer in ranked[:high]])
    return list(ranked[:high]), reached[high]


def outputs(call: Callable[..., Any], batch: Any, flatten: Callable[[Any], Any]) -> list[Tensor]:
    """What a call returns, as a flat list of tensors."""
    args, kwargs = batch
    with torch.no_grad():
        return list(flatten(call(*args, **kwargs))[1])
