"""What NVML tells, against a stand-in for it: no test here has run on a GPU."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from gauge import energy, gpu
from gauge.targets import Target
from gauge.timing import measure_pair


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


class Packages:
    """A powercap folder with counters that the test turns."""

    def __init__(self, root):
        self.folder = root / "sys/class/powercap"
        for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
            (self.folder / name).mkdir(parents=True)
            (self.folder / name / "max_energy_range_uj").write_text("10000000\n")
            self.set(name, 1_000_000)

    def set(self, name, microjoules):
        (self.folder / name / "energy_uj").write_text(f"{microjoules}\n")


def test_rapl_adds_packages_up_and_minds_the_wrap(tmp_path):
    packages = Packages(tmp_path)
    meter = energy.rapl(tmp_path)
    assert (meter.source, meter.reason, meter.read()) == ("RAPL", None, 0.0)
    packages.set("intel-rapl:0", 3_000_000)
    packages.set("intel-rapl:0:0", 9_000_000)  # a part of the first: not counted twice
    assert meter.read() == pytest.approx(2.0)
    packages.set("intel-rapl:1", 500_000)  # wrapped: 9 to the end, and half of one
    assert meter.read() == pytest.approx(2.0 + 9.5)


def test_without_a_counter_the_reason_is_said(tmp_path):
    assert "no RAPL counter" in energy.rapl(tmp_path).reason
    (tmp_path / "sys/class/powercap/intel-rapl:0").mkdir(parents=True)
    found = energy.rapl(tmp_path)
    assert found.read is None
    assert "cannot be read" in found.reason


def test_each_arms_energy_is_that_of_its_own_calls():
    class Burning(Target):
        joules = 0.0

        def energy_meter(self):
            return energy.Meter("stub", lambda: self.joules)

    device = Burning()

    def arm(joules):
        def call():
            device.joules += joules

        return call

    found = measure_pair(
        arm(1.0), arm(3.0), device, ((), {}), ((), {}), segment=1e-5, seconds=0, single_seconds=0.01
    )
    assert found.energy == {"source": "stub", "reason": None}
    assert found.baseline.joules == pytest.approx(1.0)
    assert found.candidate.joules == pytest.approx(3.0)
    assert found.baseline.singles
