"""Two of every four weights set to zero, for the sparse tensor cores of CUDA devices."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import slim_attention
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from optimizers.finetune import finetune
from optimizers.own_layers import own_layers
from zoo import Model

ROWS, COLUMNS = 32, 64
"""Weights of multiples of this size suit both of torch's backends (CUTLASS and cuSPARSELt)."""

EPOCHS = 4.0
RATE = 1e-3


class SparseModule(EagerModule):
    """An eager module whose 2:4 weights are compressed while it is on a CUDA device.

    Files hold the dense weights with their zeros: what torch compresses them to depends on the
    backend that it finds.
    """

    layers: tuple[str, ...] = ()

    def place(self, target: Device) -> None:
        super().place(target)
        if target.device == "cuda":
            self._compress()

    def _compress(self) -> None:
        from torch.sparse import to_sparse_semi_structured

        for name in self.layers:
            layer = self.module.get_submodule(name)
            sparse = to_sparse_semi_structured(layer.get_parameter("weight").detach().contiguous())
            layer.weight = nn.Parameter(sparse, requires_grad=False)

    def save(self, directory: Path) -> None:
        """Write the weights as they are without compression."""
        compressed = {
            name: self.module.get_submodule(name).get_parameter("weight") for name in self.layers
        }
        for name, weight in compressed.items():
            plain = type(weight.data) is Tensor
            dense = weight.data if plain else weight.to_dense()  # type: ignore[operator]
            layer = self.module.get_submodule(name)
            layer.weight = nn.Parameter(dense.detach().contiguous(), requires_grad=False)
        try:
            super().save(directory)
        finally:
            for name, weight in compressed.items():
                self.module.get_submodule(name).weight = weight

    @classmethod
    def load(cls, directory: Path, target: Device) -> SparseModule:
        # Dense first: the file is checked against a plain module, strictly.
        dense = EagerModule.load(directory, target)
        optimized = cls(dense.module, dense.model, dense.stages)
        optimized.target = target
        optimized.layers = tuple(
            name
            for stage in dense.stages
            if stage["technique"] == Prune24.name
            for name in stage["notes"]["layers"]
        )
        if target.device == "cuda":
            optimized._compress()
        return optimized


@register
class Prune24(Technique):
    """The two largest of each four neighbouring inputs of a linear layer stay.

    2:4 sparsity as NVIDIA's sparse tensor cores read it (Mishra et al., 2021).

    Layers whose sizes are no multiples of 32 outputs and 64 inputs stay dense, and so do those
    whose weight is tied. `tune`: trained afterwards with the zeros held, the dense model as the
    teacher.
    """

    name = "prune_2_4"
    family = "pruning"
    changes = "structure"
    claims = ("pattern_2_4", "sparse_kernels")
    variants = ({"tune": True}, {"tune": False})
    standard = ("vit",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cuda":
            return "2:4 sparse kernels are CUDA only"
        if target.dtype not in ("float16", "bfloat16"):
            return f"2:4 sparse kernels compute in half precision, not in {target.dtype}"
        capability = torch.cuda.get_device_capability()
        if capability < (8, 0):
            found = ".".join(map(str, capability))
            return f"2:4 sparse kernels need compute capability 8.0, this device has {found}"
        return None

    def apply(self, module: nn.Module, context: Context) -> SparseModule:
        tune = context.params["tune"]
        if tune:
            context.train()  # Refuses before the work is done.
        teacher = copy.deepcopy(module)
        attention = slim_attention.open_attention(module)
        masks = prune(module)
        if not masks:
            raise Refused(
                f"no linear layer of {ROWS} by {COLUMNS} or multiples of it in "
                f"{context.model.full_name}"
            )
        context.notes |= {"attention": attention, "layers": sorted(masks)}
        if tune:
            context.notes["finetune"] = finetune(
                module,
                context,
                epochs=EPOCHS,
                learning_rate=RATE,
                teacher=teacher,
                trained=lambda: hold(module, masks),
            )
        optimized = SparseModule(module)
        optimized.layers = tuple(sorted(masks))
        return optimized

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        slim_attention.put_attention(module, notes["attention"])
        return module


def prune(module: nn.Module) -> dict[str, Tensor]:
    """Set the weights to zero in place; what stays (bool, shaped like the weight) by layer."""
    masks = {}
    for name, layer in own_layers(module, nn.Linear):
        weight = layer.get_parameter("weight")
        outputs, inputs = weight.shape
        if outputs % ROWS == 0 and inputs % COLUMNS == 0:
            masks[name] = largest_two(weight.detach())
    hold(module, masks)
    return masks


def hold(module: nn.Module, masks: dict[str, Tensor]) -> None:
    """Set to zero what the masks leave out."""
    with torch.no_grad():
        for name, mask in masks.items():
            module.get_submodule(name).get_parameter("weight").mul_(mask)


def largest_two(weight: Tensor) -> Tensor:
    """Where the two largest of each four neighbours of a row are; bool [outputs, inputs]."""
    fours = weight.abs().unflatten(1, (-1, 4))
    chosen = fours.topk(2, dim=2).indices
    return torch.zeros_like(fours, dtype=torch.bool).scatter_(2, chosen, True).flatten(1)
