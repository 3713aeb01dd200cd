"""A plug-in that spoils the A/A cells: the copy of FP32 does its work sixteen times."""

from __future__ import annotations

from typing import Any

from torch import nn

import optimizers
from optimizers.eager import EagerModule
from suites import world

load = world.load_candidate


def slowed(arguments: world.World) -> Any:
    call = load(arguments)
    if arguments.arguments["artifact"] is not None:
        return call

    def again_and_again(*args: Any, **kwargs: Any) -> Any:
        return [call(*args, **kwargs) for _ in range(16)][-1]

    return again_and_again


world.load_candidate = slowed


@optimizers.register
class Contaminated(optimizers.Technique):
    """A plug-in must register something."""

    name = "contaminated"
    family = "contaminated"
    changes = "numerics"
    claims = ("unchanged",)

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return EagerModule(module)
