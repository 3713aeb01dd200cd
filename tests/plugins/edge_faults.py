"""Artifacts that only a process of their own finds out: they answer wrong there, or not at all."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn

import optimizers
from optimizers.eager import EagerModule


class Drifted(EagerModule):
    """Every opening changes what was saved."""

    @classmethod
    def load(cls, directory: Path, target: Any) -> Drifted:
        opened = super().load(directory, target)
        with torch.no_grad():
            for weight in opened.module.parameters():
                weight.mul_(1.5)
        return opened


class Dying(EagerModule):
    @classmethod
    def load(cls, directory: Path, target: Any) -> Dying:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError("a signal does not return")


@optimizers.register
class Drifts(optimizers.Technique):
    name = "drifts"
    family = "planted"
    changes = "numerics"
    claims = ("unchanged",)

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return Drifted(module)


@optimizers.register
class Dies(optimizers.Technique):
    name = "dies"
    family = "planted"
    changes = "numerics"
    claims = ("unchanged",)

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        return Dying(module)
