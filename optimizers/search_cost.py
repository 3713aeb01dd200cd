"""What a candidate of a search costs: weights and products, counted; latency, measured."""

from __future__ import annotations

import contextlib
import copy
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from optimizers.base import Device
from zoo import Batch

BLOCKS = 41
MOST_BLOCKS = 4 * BLOCKS
NARROW = 0.05
"""Half width of the interval at which no more blocks are taken."""
SEGMENT = 0.001
"""Seconds that one side is timed for without a break: long against the clock's steps, and short
against the turns that a busy host gives each program, so that most segments are whole."""


def cost(module: nn.Module, batch: Batch) -> dict[str, int]:
    """parameters, bytes (of the whole state dict) and macs (of one call with `batch`)."""
    return {
        "parameters": sum(one.numel() for one in module.parameters()),
        "bytes": sum(one.numel() * one.element_size() for one in module.state_dict().values()),
        "macs": macs_of(module, batch),
    }


def macs_of(module: nn.Module, batch: Batch) -> int:
    """Multiply-accumulates of one call, attention and recurrent layers counted as products."""
    args, kwargs = batch
    with torch.no_grad(), _in_plain_operators(), FlopCounterMode(display=False) as counter:
        module(*args, **kwargs)
    return counter.get_total_flops() // 2


@contextlib.contextmanager
def _in_plain_operators() -> Iterator[None]:
    """Attention and recurrent layers as products, since the counter knows no whole layers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            # Every use of this switch tells of Intel's GPUs.
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _error(logs: Sequence[float]) -> float:
    """Half width of the interval of the median, as a share."""
    from scipy.stats.mstats import median_cihs

    low, high = (float(one) for one in median_cihs(logs))
    return math.exp((high - low) / 2) - 1


class Stopwatch:
    """Times modules on the target in turns with one reference, so that a busy host slows both.

    reference: the FP32 model on the CPU (a copy is placed). batch: of one call, on the CPU.
    reference_ms: what a call of it takes, where that is known from an earlier, stopped search.
    """

    def __init__(
        self, reference: nn.Module, batch: Batch, target: Device, reference_ms: float | None = None
    ) -> None:
        self.target = target
        self.batch = target.cast(batch)
        self._reference = self._call(reference)
        if reference_ms is None:
            calls = self._calls(self._reference)
            found = [self._segment(self._reference, calls) for _ in range(BLOCKS)]
            reference_ms = 1e3 * statistics.median(found)
        self.reference_ms = reference_ms

    def measure(self, module: nn.Module) -> dict[str, float]:
        """ms a call, and the half width of its 95 % interval as a share of it.

        The median over blocks of the ratio to the reference, which is free of what slows both
        sides, times the reference's own time. The interval (Hettmansperger and Sheather, 1986)
        is that of the median ratio in this process. Where others disturb it, up to four times as
        many blocks are taken.
        """
        ours = self._call(module)
        calls = {one: self._calls(one) for one in (ours, self._reference)}
        ratios: list[float] = []
        error = math.inf
        while error > NARROW and len(ratios) < MOST_BLOCKS:
            for block in range(BLOCKS):
                order = (ours, self._reference) if block % 2 else (self._reference, ours)
                took = {one: self._segment(one, calls[one]) for one in order}
                ratios.append(math.log(took[ours] / took[self._reference]))
            error = _error(ratios)
        return {
            "latency_ms": self.reference_ms * math.exp(statistics.median(ratios)),
            "latency_error": error,
        }

    def _call(self, module: nn.Module) -> Callable[[], Any]:
        placed = self.target.place(copy.deepcopy(module).eval())
        args, kwargs = self.batch

        def call() -> None:
            placed(*args, **kwargs)

        return call

    def _calls(self, call: Callable[[], Any]) -> int:
        """How many calls fill a segment; warms up on the way."""
        self._segment(call, 3)
        return max(1, math.ceil(SEGMENT / self._segment(call, 3)))

    def _segment(self, call: Callable[[], Any], calls: int) -> float:
        """Seconds a call."""
        with torch.inference_mode():
            call()  # The first one finds the caches as the other side left them.
            self._wait()
            began = time.perf_counter()
            for _ in range(calls):
                call()
            self._wait()
        return (time.perf_counter() - began) / calls

    def _wait(self) -> None:
        if self.target.device == "cuda":
            torch.cuda.synchronize()
