"""Energy that an arm's segments take, from the counter of the CPU packages or of the GPU.

Measured or said to be unavailable, never estimated. Such a counter holds the whole package, idle
power and whatever else runs on it included: it compares two arms, and bills neither.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Meter:
    """read: joules since some moment, None where there is no counter and `reason` says why."""

    source: str | None
    read: Callable[[], float] | None
    reason: str | None = None


def none(reason: str) -> Meter:
    """A meter that says why there is none."""
    return Meter(None, None, reason)


def rapl(root: str | Path = "/") -> Meter:
    """RAPL counters of all CPU packages, as the kernel's powercap shows them."""
    domains = sorted(Path(root, "sys/class/powercap").glob("intel-rapl:[0-9]*"))
    # `intel-rapl:0:1` is a part of `intel-rapl:0`.
    packages = [path for path in domains if path.name.count(":") == 1]
    if not packages:
        return none("this system shows no RAPL counter (/sys/class/powercap)")
    try:
        counters = [_Counter(path) for path in packages]
    except (OSError, ValueError) as error:
        return none(f"the RAPL counter cannot be read ({error})")
    return Meter("RAPL", lambda: sum(counter.joules() for counter in counters))


class _Counter:
    """One package's counter, which wraps around every few minutes to hours."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._path.read_text())
        self._total = 0

    def joules(self) -> float:
        now = int(self._path.read_text())
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total / 1e6


def nvml(uuid: str, module: Any = None) -> Meter:
    """The GPU's own counter (Volta and later). uuid: as torch tells it, without "GPU-"."""
    if module is None:
        try:
            module = importlib.import_module("pynvml")
        except ImportError:
            return none("nvidia-ml-py is not installed")
    try:
        module.nvmlInit()
        handle = module.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        module.nvmlDeviceGetTotalEnergyConsumption(handle)
    except module.NVMLError as error:
        return none(f"NVML: {error}")
    return Meter("NVML", lambda: module.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
