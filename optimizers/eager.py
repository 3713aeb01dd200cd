"""An eager module as an artifact: its weights, and the stages that give it its structure."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import optimizers.base
import zoo
from optimizers import weights
from optimizers.artifact import ArtifactError, read_json, write_json
from optimizers.base import Device, Optimized

DESCRIPTION = "artifact.json"
_KEYS = ("model", "stages", "target", "dtype", "weights", "tied", "channels_last")


class EagerModule(Optimized):
    """A module that `Technique.rebuild` can give its structure again, so that weights suffice.

    `model` and `stages` (`technique`, `params` and `notes` of each) are filled in by the pipeline;
    a technique just returns `EagerModule(module)`.
    """

    module: nn.Module

    def __init__(
        self, module: nn.Module, model: str = "", stages: Sequence[dict[str, Any]] = ()
    ) -> None:
        self.module = module
        self.model = model
        self.stages = list(stages)
        self.target: Device | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def place(self, target: Device) -> None:
        """Put the module on the device in its number format; what is saved is for this target."""
        self.module = target.place(self.module)
        self.target = target

    def save(self, directory: Path) -> None:
        """Write the weights and `artifact.json`.

        Raises ValueError before `place`, and for params or notes that JSON cannot hold.
        """
        if self.target is None:
            raise ValueError("the module was placed on no target")
        # Description first: a mistake in the notes should not cost writing the weights.
        description = {
            "schema": 1,
            "model": self.model,
            "stages": self.stages,
            "target": self.target.name,
            "dtype": self.target.dtype,
            "tied": weights.tied(self.module),
            "channels_last": _channels_last(self.module),
        }
        write_json(directory / DESCRIPTION, description)
        name = weights.save(self.module, directory)
        write_json(directory / DESCRIPTION, {**description, "weights": name})

    @classmethod
    def load(cls, directory: Path, target: Device) -> EagerModule:
        """Build the model, rebuild each stage, place it and fill in the weights, strictly.

        Raises ArtifactError naming the file for anything that does not fit.
        """
        path = directory / DESCRIPTION
        data = read_json(path, _KEYS)
        made_for = (data["target"], data["dtype"])
        if made_for != (target.name, target.dtype):
            raise ArtifactError(f"{path} is for {made_for}, not for {(target.name, target.dtype)}")
        if data["weights"] not in (weights.SAFETENSORS, weights.PICKLED):
            raise ArtifactError(f"{path} names {data['weights']!r} as its weights")
        optimized = cls(_rebuild(data, path), data["model"], data["stages"])
        optimized.place(target)
        optimized.module.eval()
        weights.load(optimized.module, directory / data["weights"], data["tied"])
        if _channels_last(optimized.module) != data["channels_last"]:
            raise ArtifactError(f"{path}: the rebuilt module has other memory formats")
        return optimized


def _rebuild(data: dict[str, Any], path: Path) -> nn.Module:
    with _known(path, "model", data["model"]):
        model = zoo.get(data["model"])
    module = model.build().eval()
    for stage in data["stages"]:
        with _known(path, "technique", stage["technique"]):
            technique = optimizers.base.get(stage["technique"])
        module = technique.rebuild(module, stage["params"], stage["notes"])
    return module


@contextlib.contextmanager
def _known(path: Path, kind: str, name: str) -> Any:
    try:
        yield
    except KeyError as error:
        raise ArtifactError(
            f"{path} names {kind} {name!r}, not known here; one of a plug-in needs --plugin"
        ) from error


def _channels_last(module: nn.Module) -> list[str]:
    """Names of the 4-D tensors that are laid out channels last, and not also row by row."""
    return [
        name
        for name, value in module.state_dict().items()
        if isinstance(value, torch.Tensor)
        and value.dim() == 4
        and value.layout is torch.strided
        and not value.is_contiguous()
        and value.is_contiguous(memory_format=torch.channels_last)
    ]
