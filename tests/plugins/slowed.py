"""A technique that is as fast as a file says: a regression to plant at will.

SLOWED names a JSON file: {"more": how many more times the module runs in each call}. Whatever else
the file holds makes another artifact of equal speed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

import optimizers
from optimizers.eager import EagerModule


class Slowed(EagerModule):
    told: dict[str, Any]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.told["more"]):
            self.module(x)
        return self.module(x)

    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "slowed.json").write_text(json.dumps(self.told))

    @classmethod
    def load(cls, directory: Path, target: optimizers.base.Device) -> EagerModule:
        loaded = super().load(directory, target)
        assert isinstance(loaded, cls)
        loaded.told = json.loads((directory / "slowed.json").read_text())
        return loaded


@optimizers.register
class SlowedTechnique(optimizers.Technique):
    name = "slowed"
    family = "planted"
    changes = "numerics"
    claims = ("unchanged",)

    def files(self, model: object) -> list[Path]:
        return [Path(os.environ["SLOWED"])]

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        slowed = Slowed(module)
        slowed.told = json.loads(self.files(None)[0].read_text())
        return slowed
