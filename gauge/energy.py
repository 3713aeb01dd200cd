"""Energy that a call of each arm takes, from the counter of the CPU packages or of the GPU.

Measured or said to be unavailable, never estimated. Such a counter holds the whole device, idle
power and whatever else runs on it included: it compares two arms, and bills neither.

The counters lag: RAPL is renewed every millisecond, a GPU's some ten times a second, so that a
timed segment of 10 ms would mostly be charged for the other arm. Energy has stretches of its own,
long against that, and each begins unread until what is read is the arm's own.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STRETCH_S = 0.05
"""Shortest stretch that is read."""

INTERVALS = 10
"""How many renewals of the counter a stretch lasts at least: one is off by 4 % of a tenth (SD)."""

_ORDER = "ABBA"
_RAPL_INTERVAL_S = 0.001
_NVML_INTERVAL_S = 0.1


class Unreadable(Exception):
    """A counter that was there does not answer any more; the message says why."""


@dataclass(frozen=True)
class Meter:
    """read: joules since some moment (raises Unreadable), None where there is no counter.

    interval_s: how often the counter is renewed. reason: why there is none.
    """

    source: str | None
    read: Callable[[], float] | None
    reason: str | None = None
    interval_s: float = 0.0


@dataclass(frozen=True)
class Energy:
    """joules: of a call, by arm; None with the reason where they were not measured."""

    source: str | None
    joules: dict[str, float] | None
    reason: str | None = None


def none(reason: str) -> Meter:
    """A meter that says why there is none."""
    return Meter(None, None, reason)


def measure(meter: Meter, run: Callable[[str], int]) -> Energy:
    """Joules of a call of the arms A and B, each run alone in two stretches (ABBA).

    run: some calls of that arm, finished when it returns; gives how many.
    """
    if meter.read is None:
        return Energy(None, None, meter.reason)
    length = max(STRETCH_S, INTERVALS * meter.interval_s)
    joules, calls = dict.fromkeys("AB", 0.0), dict.fromkeys("AB", 0)
    try:
        for arm in _ORDER:
            _stretch(run, arm, meter.interval_s)
            before = meter.read()
            calls[arm] += _stretch(run, arm, length)
            joules[arm] += meter.read() - before
    except Unreadable as error:
        return Energy(None, None, str(error))
    if min(joules.values()) <= 0:
        return Energy(None, None, f"the {meter.source} counter stands still")
    return Energy(meter.source, {arm: joules[arm] / calls[arm] for arm in joules})


def _stretch(run: Callable[[str], int], arm: str, seconds: float) -> int:
    """Run an arm at least once and for so many seconds; the calls it made."""
    ends = time.perf_counter() + seconds
    calls = run(arm)
    while time.perf_counter() < ends:
        calls += run(arm)
    return calls


def rapl(root: str | Path = "/") -> Meter:
    """RAPL counters of all CPU packages (Intel and AMD), as the kernel's powercap shows them."""
    folder = Path(root, "sys/class/powercap")
    try:
        counters = [_Counter(path) for path in sorted(folder.glob("intel-rapl:[0-9]*"))
                    if _is_package(path)]  # fmt: skip
    except PermissionError as error:
        why = "since Linux 5.10 only root reads it, unless somebody makes it readable"
        return none(f"{error.filename}: permission denied; {why}")
    except (OSError, ValueError) as error:
        return none(f"the RAPL counter cannot be read ({error})")
    if not counters:
        return none("this system shows no RAPL counter (/sys/class/powercap)")
    source = "RAPL" if len(counters) == 1 else f"RAPL, {len(counters)} packages"
    return Meter(source, lambda: sum(one.joules() for one in counters), interval_s=_RAPL_INTERVAL_S)


def _is_package(domain: Path) -> bool:
    """Not a part of a package (core, uncore, dram), nor the whole platform (psys)."""
    return (domain / "name").read_text().startswith("package")


class _Counter:
    """One package's counter, which wraps around every few minutes to hours."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._path.read_text())
        self._total = 0

    def joules(self) -> float:
        try:
            now = int(self._path.read_text())
        except (OSError, ValueError) as error:
            raise Unreadable(f"the RAPL counter cannot be read ({error})") from error
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

    def read() -> float:
        try:
            return module.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        except module.NVMLError as error:
            raise Unreadable(f"NVML: {error}") from error

    return Meter("NVML", read, interval_s=_NVML_INTERVAL_S)
