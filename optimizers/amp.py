"""Mixed-precision training: weights in FP32, layers computed in 16 bits by autocast.

What it gains is the time of a training, so `suites/test_training.py` asks it; the weights it ends
with are FP32, and there is nothing to save that FP32 training would not save.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import nn

from optimizers.base import Device, Technique, register
from zoo import Model
from zoo.precision import Precision


class MixedPrecision(Technique):
    """autocast around the forward pass (Micikevicius et al., "Mixed precision training", 2018).

    accumulate: parts that a batch is taken in, for both sides of a comparison.
    cpu_steps: where a training on the CPU stops, None for the whole recipe. A literal: a plan reads
        it without running anything.
    """

    family = "training"
    suite = "training"
    changes = "numerics"
    # Words, not numbers: a default that is a number would stand in every name (`amp_bf16:1`).
    variants = ({"accumulate": "1"}, {"accumulate": "4"})

    dtype: ClassVar[torch.dtype]
    cpu_steps: ClassVar[int | None] = None

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.dtype != "float32":
            return (
                f"weights stay in FP32 and target {target.name} has them in {target.dtype}: "
                f"--target {target.device}"
            )
        if not hasattr(model, "train"):
            return f"{model.full_name} has no train(): it comes with its weights"
        return self.lacks(target)

    def lacks(self, target: Device) -> str | None:
        """What the machine lacks for this format, as a sentence, or None."""
        return None

    def precision(self, params: dict[str, Any], target: Device) -> Precision:
        """How its steps compute."""
        return Precision(
            self.dtype,
            accumulate=int(params["accumulate"]),
            most_steps=self.cpu_steps if target.device == "cpu" else None,
        )


@register
class AmpBf16(MixedPrecision):
    """BF16 has FP32's range, so gradients need no scaling."""

    name = "amp_bf16"
    dtype = torch.bfloat16

    def lacks(self, target: Device) -> str | None:
        if target.device == "cpu":
            if {"avx512_bf16", "amx_bf16"} & set(target.capabilities()):
                return None
            return "this CPU has no BF16 instructions (avx512_bf16, amx_bf16), only emulation"
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            return "this GPU has no BF16 arithmetic (compute capability 8.0 or higher has)"
        return None


@register
class AmpFp16(MixedPrecision):
    """FP16 underflows where gradients are small: the loss is scaled, by GradScaler."""

    name = "amp_fp16"
    dtype = torch.float16
    # A CPU without FP16 arithmetic takes up to 100 times longer: enough to tell that it works.
    cpu_steps = 20

    def refuses(self, model: Model, target: Device) -> str | None:
        reason = super().refuses(model, target)
        return _unable_to_recur(model) if reason is None and target.device == "cpu" else reason

    def precision(self, params: dict[str, Any], target: Device) -> Precision:
        return dataclasses.replace(super().precision(params, target), scaled=True)


def _unable_to_recur(model: Model) -> str | None:
    """Why this CPU takes no FP16 step of the model's recurrent layers, or None where it does.

    Few CPUs have kernels for them. Asked of the smallest layer of each kind: nothing lists them.
    """
    layers = list(model.build().modules())
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        if not any(isinstance(one, kind) for one in layers):
            continue
        try:
            with torch.enable_grad(), torch.autocast("cpu", dtype=AmpFp16.dtype):
                states, _ = kind(1, 1)(torch.zeros(1, 1, 1))
            states.float().sum().backward()
        except RuntimeError as error:
            said = str(error).partition(". ")[0]
            return f"this CPU trains no {kind.__name__} in FP16: {said}"
    return None
