"""What NVML tells, against a stand-in for it: no test here has run on a GPU."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from gauge import energy, gpu


class Nvml:
    """The few functions of pynvml that are asked, with answers that change."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.clock, self.bits, self.processes, self.millijoules = 1980, 0x1, 1, 0

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid != "GPU-abc":
            raise self.NVMLError("Not Found")
        return self

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self.clock if kind == self.NVML_CLOCK_SM else 2619

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 61

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.bits

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid) for pid in range(self.processes)]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.millijoules += 1500
        return self.millijoules


def test_clocks_throttling_and_others_are_told():
    nvml = Nvml()
    stop = gpu.watch("abc", nvml)
    nvml.clock, nvml.bits, nvml.processes = 1410, 0x24, 2
    found = stop()
    assert found == {
        "clock_mhz": [1980, 1410],
        "memory_clock_mhz": [2619, 2619],
        "temperature_c": [61, 61],
        "throttle": ["sw_power_cap", "sw_thermal_slowdown"],
        "other_processes": 1,
    }
    assert gpu.busy(found) == "another process uses the GPU"
    assert json.loads(json.dumps(found)) == found


def test_a_gpu_of_our_own_is_not_busy():
    found = gpu.watch("abc", Nvml())()
    assert (found["throttle"], found["other_processes"]) == ([], 0)
    assert gpu.busy(found) is None
    assert gpu.busy(None) is None
    assert gpu.busy({"other_processes": 3}) == "3 other processes use the GPU"


def test_what_nvml_does_not_tell_has_a_reason():
    found = gpu.watch("xyz", Nvml())()
    assert found == {"unavailable": "NVML: Not Found"}
    assert gpu.busy(found) is None
    assert energy.nvml("xyz", Nvml()).reason == "NVML: Not Found"


def test_without_the_package_that_is_the_reason(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert gpu.watch("abc")() == {"unavailable": "nvidia-ml-py is not installed"}
    assert energy.nvml("abc").reason == "nvidia-ml-py is not installed"


def test_the_gpus_energy_is_in_joules():
    meter = energy.nvml("abc", Nvml())
    first = meter.read()
    assert (meter.source, meter.read() - first) == ("NVML", pytest.approx(1.5))
