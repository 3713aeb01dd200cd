"""How fast this device can be: the roofline model (Williams, Waterman, Patterson, CACM 52, 2009).

Peaks are measured, not read from a data sheet: the fastest call of torch's own kernels, matrix
products for FLOP/s in each number format, and reading or copying buffers of several sizes for
bytes/s, since what lies in a cache is nearer than what lies in memory. Another runtime's kernels
may be faster than torch's: a share above 1 then says so, and is not cut off.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from gauge.targets import Target

FORMATS = ("float32", "bfloat16", "float16", "int8")
SIZES = (256, 512, 1024)
"""Sides of the square matrices; the fastest counts."""

BUFFERS = tuple(2**power for power in (17, 20, 22, 24, 26, 28))
"""Bytes of the buffers: from what the nearest cache holds to what none does."""

CALLS = 5
_SLOW_S = 0.05
"""A format whose smallest product takes longer is emulated: larger ones would tell no more."""


def measure(target: Target) -> dict[str, Any]:
    """{"flops": format → FLOP/s or None, "reasons": format → why None,
    "bandwidth": [[bytes of the buffer, bytes/s], …]} on the target's device, with its threads."""
    import torch

    flops: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    with torch.inference_mode():
        for name in FORMATS:
            try:
                flops[name] = _products(target, getattr(torch, name))
            except (RuntimeError, NotImplementedError) as error:
                flops[name] = None
                line = str(error).strip().partition("\n")[0]
                reasons[name] = line[:200] or type(error).__name__
        bandwidth = [[size, _bandwidth(target, size)] for size in BUFFERS]
    return {"flops": flops, "reasons": reasons, "bandwidth": bandwidth}


def _products(target: Target, dtype: torch.dtype) -> float:
    import torch

    best = 0.0
    for side in SIZES:
        if dtype is torch.int8:
            made = [torch.randint(-99, 99, (side, side), dtype=dtype) for _ in range(2)]
            multiply = torch._int_mm
        else:
            made = [torch.randn(side, side).to(dtype) for _ in range(2)]
            multiply = torch.mm
        left, right = (one.to(target.device) for one in made)
        seconds = _fastest(target, functools.partial(multiply, left, right), CALLS)
        best = max(best, 2 * side**3 / seconds)
        if seconds > _SLOW_S:
            break
    return best


def _bandwidth(target: Target, size: int) -> float:
    """Bytes/s of the fastest of reading (a matrix times a vector, a dot product) and copying."""
    import torch

    side = math.isqrt(size // 4)
    # Ones: written, so that every page is there, and quicker to make than random numbers.
    matrix, vector = (torch.ones(*one, device=target.device) for one in ((side, side), (side,)))
    half = torch.ones(size // 8, device=target.device)
    other = torch.empty_like(half)
    calls = max(CALLS, min(100, 2**24 // size))
    return max(
        4 * side**2 / _fastest(target, lambda: torch.mv(matrix, vector), calls),
        half.nbytes / _fastest(target, lambda: torch.dot(half, half), calls),
        2 * half.nbytes / _fastest(target, lambda: other.copy_(half), calls),
    )


def _fastest(target: Target, call: Callable[[], Any], calls: int) -> float:
    call()
    times = []
    start = target.stopwatch()
    for _ in range(calls):
        target.synchronize()
        stop = start()
        call()
        target.synchronize()
        times.append(stop())
    return max(min(times), 1e-9)


def bandwidth_for(bandwidth: Sequence[Sequence[float]], size: float) -> float:
    """Bytes/s at the smallest measured buffer that holds so many bytes, else at the largest."""
    ordered = sorted(tuple(one) for one in bandwidth)
    return next((rate for held, rate in ordered if held >= size), ordered[-1][1])


def roof(
    machine: Mapping[str, Any], number_format: str, flops: float, traffic: float
) -> dict[str, float] | None:
    """The FLOP/s that a call of so many FLOP and bytes could reach, and what bounds it.

    {"peak", "bandwidth", "intensity" (FLOP a byte), "attainable"}; None where the format has no
    measured peak.
    """
    peak = machine["flops"].get(number_format)
    if not peak or flops <= 0 or traffic <= 0:
        return None
    rate = bandwidth_for(machine["bandwidth"], traffic)
    intensity = flops / traffic
    return {
        "peak": peak,
        "bandwidth": rate,
        "intensity": intensity,
        "attainable": min(peak, intensity * rate),
    }
