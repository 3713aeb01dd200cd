"""What NVML says of a GPU around a measurement: clocks, throttling, who else computes on it.

Not yet run on a GPU: held by tests against a stand-in for NVML.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

# nvmlClocksEventReasons of nvml.h; bit 0 (idle) is no throttling.
_REASONS = {
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}

Facts = dict[str, Any]


def watch(uuid: str, nvml: Any = None) -> Callable[[], Facts]:
    """Start watching a GPU; the result, when called, tells what was seen.

    uuid: as torch tells it, without "GPU-". nvml: the module pynvml, by default imported. Told:
    clock_mhz and memory_clock_mhz (before, after), temperature_c, throttle (names of the reasons
    seen at either end), other_processes (that compute on it); {"unavailable": why} where NVML
    cannot be asked.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return lambda: {"unavailable": "nvidia-ml-py is not installed"}
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        before = _look(nvml, handle)
    except nvml.NVMLError as error:
        why = f"NVML: {error}"
        return lambda: {"unavailable": why}

    def stop() -> Facts:
        try:
            after = _look(nvml, handle)
        except nvml.NVMLError as error:
            return {"unavailable": f"NVML: {error}"}
        both = (before, after)
        return {
            "clock_mhz": [one["clock"] for one in both],
            "memory_clock_mhz": [one["memory_clock"] for one in both],
            "temperature_c": [one["temperature"] for one in both],
            "throttle": sorted({name for one in both for name in one["throttle"]}),
            "other_processes": max(one["others"] for one in both),
        }

    return stop


def _look(nvml: Any, handle: Any) -> Facts:
    bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    # One of them is this process, which holds a context; by its own number it cannot be found in
    # a container, where NVML tells the host's.
    computing = len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    return {
        "clock": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_clock": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "temperature": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "throttle": [name for bit, name in _REASONS.items() if bits & bit],
        "others": max(0, computing - 1),
    }


def busy(facts: Facts | None) -> str | None:
    """A sentence when another process computed on the GPU meanwhile, or None."""
    count = (facts or {}).get("other_processes") or 0
    if not count:
        return None
    who = "another process uses" if count == 1 else f"{count} other processes use"
    return f"{who} the GPU"
