"""Energy by a counter: wrap-around, packages, lag, and every way in which there is none."""

from __future__ import annotations

import os
import time

import pytest

from gauge import energy
from gauge.targets import Target
from gauge.timing import measure_pair

FOLDER = "sys/class/powercap"


class Powercap:
    """The kernel's powercap folder, as files, with counters that the test turns."""

    def __init__(self, root):
        self.folder = root / FOLDER
        domains = {
            "intel-rapl:0": "package-0",
            "intel-rapl:1": "package-1",
            "intel-rapl:2": "psys",
            "intel-rapl:0:0": "dram",
            "intel-rapl-mmio:0": "package-0",
        }
        for domain, name in domains.items():
            (self.folder / domain).mkdir(parents=True)
            (self.folder / domain / "name").write_text(f"{name}\n")
            (self.folder / domain / "max_energy_range_uj").write_text("10000000\n")
            self.set(domain, 1_000_000)

    def set(self, domain, microjoules):
        (self.folder / domain / "energy_uj").write_text(f"{microjoules}\n")


def test_rapl_adds_packages_up_and_minds_the_wrap(tmp_path):
    powercap = Powercap(tmp_path)
    meter = energy.rapl(tmp_path)
    assert (meter.source, meter.reason, meter.read()) == ("RAPL, 2 packages", None, 0.0)
    powercap.set("intel-rapl:0", 3_000_000)
    for part in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        powercap.set(part, 9_000_000)  # all in the packages already
    assert meter.read() == pytest.approx(2.0)
    powercap.set("intel-rapl:1", 500_000)  # wrapped: 9 to the end, and half of one
    assert meter.read() == pytest.approx(2.0 + 9.5)


def test_without_a_counter_the_reason_is_said(tmp_path):
    assert "no RAPL counter" in energy.rapl(tmp_path).reason
    powercap = Powercap(tmp_path)
    powercap.set("intel-rapl:0", "what")
    assert "cannot be read" in energy.rapl(tmp_path).reason


def test_here_there_is_a_counter_or_a_reason():
    meter = energy.rapl()
    assert (meter.read is None) == (meter.source is None) == bool(meter.reason)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_counter_that_only_root_reads_is_named(tmp_path):
    powercap = Powercap(tmp_path)
    (powercap.folder / "intel-rapl:0" / "energy_uj").chmod(0)
    reason = energy.rapl(tmp_path).reason
    assert f"{powercap.folder}/intel-rapl:0/energy_uj: permission denied" in reason


def burn(joules: dict[str, float], used: list[float]):
    def run(arm: str) -> int:
        time.sleep(0.001)
        used[0] += joules[arm]
        return 1

    return run


def test_each_arm_is_charged_for_its_own_calls_though_the_counter_lags(monkeypatch):
    """Renewed every 20 ms: within a segment of 10 ms it tells nothing of whose they are."""
    used, shown = [0.0], [0.0]
    clock = [0.0]
    monkeypatch.setattr(energy.time, "perf_counter", lambda: clock[0])

    def run(arm: str) -> int:
        """A call of 1 ms; the hardware renews its counter meanwhile."""
        clock[0] += 0.001
        used[0] += {"A": 1.0, "B": 20.0}[arm]
        if round(clock[0] * 1000) % 20 == 13:
            shown[0] = used[0]
        return 1

    found = energy.measure(energy.Meter("stub", lambda: shown[0], interval_s=0.02), run)
    assert found.source == "stub"
    assert found.joules["A"] == pytest.approx(1.0, rel=0.11)
    assert found.joules["B"] == pytest.approx(20.0, rel=0.11)


def test_a_counter_that_stands_still_or_goes_away_gives_no_number():
    run = burn({"A": 1.0, "B": 1.0}, [0.0])
    still = energy.measure(energy.Meter("RAPL", lambda: 5.0), run)
    assert (still.joules, still.reason) == (None, "the RAPL counter stands still")

    def gone() -> float:
        raise energy.Unreadable("NVML: GPU is lost")

    lost = energy.measure(energy.Meter("NVML", gone), run)
    assert (lost.joules, lost.reason) == (None, "NVML: GPU is lost")


def test_a_package_that_vanishes_is_no_crash(tmp_path):
    powercap = Powercap(tmp_path)
    meter = energy.rapl(tmp_path)
    (powercap.folder / "intel-rapl:0" / "energy_uj").unlink()
    found = energy.measure(meter, burn({"A": 1.0, "B": 1.0}, [0.0]))
    assert found.joules is None
    assert "cannot be read" in found.reason


class Burning(Target):
    joules = 0.0

    def energy_meter(self):
        return energy.Meter("stub", lambda: self.joules)


def pair(device, **settings):
    def arm(joules):
        def call():
            device.joules += joules

        return call

    terms = {"segment": 1e-5, "seconds": 0, "single_seconds": 0.01, **settings}
    return measure_pair(arm(1.0), arm(3.0), device, ((), {}), ((), {}), **terms)


def test_a_process_tells_joules_of_a_call_of_each_arm():
    found = pair(Burning())
    assert found.energy == {"source": "stub", "reason": None}
    assert found.baseline.joules == pytest.approx(1.0)
    assert found.candidate.joules == pytest.approx(3.0)
    assert found.baseline.singles


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"with_energy": False}, "first processes"), ({"cache_mode": "cold"}, "emptying the caches")],
)
def test_where_it_is_not_measured_there_is_no_number(settings, reason):
    found = pair(Burning(), **settings)
    assert (found.baseline.joules, found.energy["source"]) == (None, None)
    assert reason in found.energy["reason"]
