"""One step of a training: forward, loss, backward and update, in FP32 or mixed precision."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.precision import Precision, Trace

if TYPE_CHECKING:
    from zoo.training import Recipe


class Step:
    """A step of `recipe` on `module`, where it is: call it with a batch and its labels.

    trace: what to tell of each step, or None to tell nothing (and wait for nothing).
    """

    def __init__(
        self,
        module: nn.Module,
        recipe: Recipe,
        optimiser: torch.optim.Optimizer,
        precision: Precision,
        trace: Trace | None,
    ) -> None:
        self.module, self.recipe, self.optimiser = module, recipe, optimiser
        self.precision, self.trace = precision, trace
        self.device = next(module.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type) if precision.scaled else None
        self.taken = 0
        # Asked of the optimiser, not of the scaler: what counts is whether weights were updated.
        optimiser.register_step_post_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.taken += 1

    def __call__(self, batch: Tensor, labels: Tensor) -> Tensor:
        """Take the step; returns the loss, detached."""
        self.optimiser.zero_grad(set_to_none=True)
        watched = self._watch() if self.trace and not self.trace.losses else None
        parts = pieces(len(labels), self.precision.accumulate)
        total = torch.zeros((), device=self.device)
        for inputs, wanted in zip(
            batch.tensor_split(parts), labels.tensor_split(parts), strict=True
        ):
            with self._autocast():
                outputs = self.module(inputs.to(self.device))
            # In FP32 whatever the layers computed in: a sum of exponentials overflows FP16.
            loss = functional.cross_entropy(
                outputs.float(), wanted.to(self.device), label_smoothing=self.recipe.smoothing
            )
            if parts > 1:
                loss = loss * (len(wanted) / len(labels))
            (self.scaler.scale(loss) if self.scaler else loss).backward()
            total = total + loss.detach()
        if self.scaler:
            self.scaler.step(self.optimiser)  # unscales; skips where a gradient is not finite
            self.scaler.update()
        else:
            self.optimiser.step()
        if watched is not None:
            watched()
        if self.trace is not None:
            self.trace.losses.append(float(total))
            self.trace.taken = self.taken
            self.trace.scale = self.scaler.get_scale() if self.scaler else None
        return total

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision.dtype)

    def _watch(self) -> Any:
        """Counts the layers that run, and those that answer in the asked format; call to end."""
        trace, seen = self.trace, {}
        assert trace is not None
        leaves = [
            (name, one)
            for name, one in self.module.named_modules()
            if next(one.children(), None) is None and next(one.parameters(), None) is not None
        ]

        def note(name: str) -> Any:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                first = output[0] if isinstance(output, tuple) else output
                seen[name] = first.dtype

            return hook

        hooks = [one.register_forward_hook(note(name)) for name, one in leaves]

        def end() -> None:
            for hook in hooks:
                hook.remove()
            trace.layers = len(seen)
            trace.low = sum(dtype == self.precision.dtype for dtype in seen.values())

        return end


def pieces(count: int, accumulate: int) -> int:
    """In how many parts a batch is taken: fewer than asked where one would hold a single sample.

    BatchNorm cannot train on a single value a channel.
    """
    return max(1, min(accumulate, count // 2))
