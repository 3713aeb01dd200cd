"""Cold caches: what is evicted, when, and what is recorded."""

from __future__ import annotations

import pytest

from gauge import cold, timing
from gauge.targets import Target, get

NOTHING = ((), {})


def test_the_cache_size_is_read_from_sysfs(tmp_path):
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cache"
    for index, size in enumerate(("48K", "1024K", "32M")):
        (folder / f"index{index}").mkdir(parents=True)
        (folder / f"index{index}" / "size").write_text(size + "\n")
    assert cold.last_level_cache(tmp_path) == (32 * 2**20, "sysfs")


def test_an_unknown_cache_size_is_assumed_and_said(tmp_path):
    assert cold.last_level_cache(tmp_path) == (256 * 2**20, "not told by this system: assumed")
    size, source = cold.last_level_cache()
    assert size > 0
    assert source


def test_the_buffer_is_larger_than_the_cache_and_is_read(monkeypatch):
    monkeypatch.setattr(cold, "last_level_cache", lambda: (2**20, "sysfs"))
    evictor = get("cpu").evictor()
    assert evictor.facts["last_level_bytes"] == 2**20 < evictor.facts["buffer_bytes"]
    evictor.call()


class Cached(Target):
    """A device whose calls take a tenth of the time when what they need is still in its cache."""

    def __init__(self):
        self.now = 0.0
        self.warm = None
        self.log = []

    def work(self, name, seconds):
        def call():
            self.now += seconds / (10 if self.warm == name else 1)
            self.warm = name
            self.log.append(name)

        return call

    def stopwatch(self):
        def start():
            began = self.now
            self.log.append("(")
            return lambda: self.log.append(")") or self.now - began

        return start

    def evictor(self):
        def evict():
            self.warm = None
            self.log.append("evict")

        return cold.Evictor(evict, {"buffer_bytes": 7})


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(timing, "_stopwatch_problem", lambda *_: None)


def measure(mode):
    device = Cached()
    found = timing.measure_pair(
        *(device.work("A", 1.0), device.work("B", 2.0), device, NOTHING, NOTHING),
        seconds=0,
        cache_mode=mode,
        single_seconds=0.01,
    )
    return device, found


def test_cold_calls_are_timed_one_by_one_after_an_eviction():
    device, found = measure("cold")
    assert found.invalid is None
    assert found.baseline.samples == pytest.approx([1.0] * len(found.baseline.samples))
    assert found.candidate.samples == pytest.approx([2.0] * len(found.candidate.samples))
    assert found.baseline.singles == pytest.approx([1.0] * len(found.baseline.singles))
    timed = "".join(part[0] for part in device.log)
    assert timed.count("e(A)") + timed.count("e(B)") == timed.count("(")
    assert found.settings["cache"] == {"mode": "cold", "buffer_bytes": 7}


def test_warm_calls_find_what_the_call_before_left():
    device, found = measure("warm")
    assert "evict" not in device.log
    assert found.baseline.samples == pytest.approx([0.1] * len(found.baseline.samples))
    assert found.settings["cache"] == {"mode": "warm"}


def test_an_unknown_mode_and_a_device_without_a_way_are_refused():
    with pytest.raises(ValueError, match="cache_mode 'tepid' is none of warm, cold"):
        measure("tepid")

    class Npu(Target):
        name = "npu"
        device = "npu"

    with pytest.raises(NotImplementedError, match="target npu: no way to empty its caches"):
        Npu().evictor()
