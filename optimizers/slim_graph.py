"""Channels of convolutions and linear layers, found with torch-pruning's dependency graph.

DepGraph (Fang et al., 2023): removing a channel of one layer removes it from the BatchNorm behind
it, from every layer added to it and from every layer that reads it.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import structure
from optimizers.base import Refused
from zoo import Batch


class Channels:
    """A group of torch-pruning, named after the layer whose outputs it removes."""

    grain = 1

    def __init__(self, graph: Any, name: str, layer: nn.Module, names: dict[Any, str]) -> None:
        self.graph = graph
        self.layer = layer
        self.name = name
        self.names = names

    @property
    def width(self) -> int:
        found: int = self.graph.get_out_channels(self.layer)
        return found

    def score(self, importance: str) -> Tensor:
        """Mean over the group's layers of squared norms, or of the loss's first-order change."""
        from torch_pruning import importance as kinds

        kind = {
            "magnitude": kinds.GroupMagnitudeImportance(p=2),
            "taylor": kinds.GroupTaylorImportance(normalizer=None),
        }[importance]
        found: Tensor = kind(self.of(torch.arange(self.width)))
        return found

    def remove(self, units: Tensor) -> None:
        self.of(units).prune()

    def of(self, units: Tensor) -> Any:
        """torch-pruning's own group of these channels."""
        pruner = self.graph.get_pruner_of_module(self.layer)
        return self.graph.get_pruning_group(
            self.layer, pruner.prune_out_channels, [int(unit) for unit in units]
        )

    def layers(self) -> list[nn.Module]:
        """The modules that lose channels."""
        found = {id(dep.target.module): dep.target.module for dep, _ in self.of(torch.tensor([0]))}
        return [one for one in found.values() if isinstance(one, nn.Module)]


def groups(module: nn.Module, batch: Batch) -> list[Channels]:
    """The groups whose channels can go, without those that the outputs consist of.

    Raises Refused where torch-pruning is absent or cannot follow the module.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise Refused("torch-pruning is not installed (pip install optgauge[pruning])") from error

    names = {layer: name for name, layer in module.named_modules()}
    graph = torch_pruning.DependencyGraph()
    with torch.enable_grad(), warnings.catch_warnings():
        # Said of parameters outside known layers, of which a group never holds part.
        warnings.simplefilter("ignore")
        try:
            graph.build_dependency(
                module, batch, forward_fn=_call, output_transform=_tensors, verbose=False
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise Refused(
                f"torch-pruning cannot follow this model: {type(error).__name__}: {error}"
            ) from error
        found = [
            Channels(graph, names[group[0].dep.target.module], group[0].dep.target.module, names)
            for group in graph.get_all_groups()
            if _can_go(graph, group, module)
        ]
    return found


def _call(module: nn.Module, batch: Batch) -> Any:
    args, kwargs = batch
    return module(*args, **kwargs)


def _tensors(output: Any) -> list[Tensor]:
    return [one for one in structure.flatten(output)[1] if one.grad_fn is not None]


def _can_go(graph: Any, group: Any, module: nn.Module) -> bool:
    """Whether a group's channels end inside the model, in layers that can be cut anywhere."""
    shared = _tied(module)
    for dependency, _ in group:
        node = dependency.target
        writes = graph.is_out_channel_pruning_fn(dependency.handler)
        # A class, or a feature of the output: the shape that others rely on.
        if writes and not node.outputs:
            return False
        layer = node.module
        if isinstance(layer, nn.Parameter):
            return False
        if isinstance(layer, (nn.GroupNorm, nn.MultiheadAttention)):
            return False
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.groups not in (
            1,
            layer.in_channels,
        ):
            return False
        if any(id(one) in shared for one in layer.parameters(recurse=False)):
            return False
    return True


def _tied(module: nn.Module) -> set[int]:
    """Parameters that more than one layer has: slimming one layer would untie them."""
    seen: set[int] = set()
    twice: set[int] = set()
    for _, one in module.named_parameters(remove_duplicate=False):
        (twice if id(one) in seen else seen).add(id(one))
    return twice
