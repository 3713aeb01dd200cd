"""The timing protocol: what is called in which order, and what makes a measurement invalid.

No test here asserts how long anything takes: clocks are counted by the stub target itself.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import time

import pytest
import torch

from gauge import affinity, monitors, steady, timing
from gauge.segments import SINGLE_CALLS
from gauge.targets import Target, get
from gauge.timing import measure_pair

NOTHING = ((), {})


class Counted(Target):
    """A device with a clock of its own: it runs only while `work` is called."""

    def __init__(self, scale=1.0):
        self.now = 0.0
        self.scale = scale
        self.segments = 0
        self.synchronized = 0

    def work(self, seconds):
        def call():
            self.now += seconds

        return call

    def synchronize(self):
        self.synchronized += 1

    def stopwatch(self):
        def start():
            began = self.now
            self.segments += 1
            return lambda: (self.now - began) * self.scale

        return start


def pair(baseline=0.002, candidate=0.001, **options):
    device = Counted(scale=1e-3)  # a thousandth, so that it lies within the wall time
    options.setdefault("segment", 1e-5)
    options.setdefault("seconds", 0.05)
    return measure_pair(
        device.work(baseline), device.work(candidate), device, NOTHING, NOTHING, **options
    )


@pytest.fixture
def patient(monkeypatch):
    """For clocks that count work, not wall time: nothing to tell against the wall clock."""
    monkeypatch.setattr(timing, "_stopwatch_problem", lambda *_: None)


def test_the_log_ratio_is_baseline_over_candidate(patient):
    assert pair(0.002, 0.001).log_ratio == pytest.approx(math.log(2))
    assert pair(0.001, 0.003).log_ratio == pytest.approx(-math.log(3))


def test_real_work_on_the_real_clock_is_valid_and_plain_data():
    x = torch.ones(64, 64)

    def call(a, *, b):
        return a @ b

    found = measure_pair(
        call, call, get("cpu"), ((x,), {"b": x}), ((x.clone(),), {"b": x.clone()}), seconds=0.05
    )
    assert found.invalid is None
    assert len(found.blocks) >= timing.BLOCKS
    assert math.isfinite(found.log_ratio)
    assert found.candidate.median_s > 0
    plain = found.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (
        len(plain["baseline_samples"]) == len(plain["candidate_samples"]) == 2 * len(found.blocks)
    )


def test_arms_run_in_turns_and_the_first_call_after_a_switch_is_not_timed():
    calls = []
    device = get("cpu")
    timed = []

    class Recording(Target):
        def stopwatch(self):
            inner = device.stopwatch()

            def start():
                stop, at = inner(), len(calls)

                def end():
                    timed.append((at, len(calls)))
                    return stop()

                return end

            return start

    def arm(name):
        def call():
            calls.append(name)
            time.sleep(0.001)  # yields the CPU, asserts nothing

        return call

    found = measure_pair(arm("A"), arm("B"), Recording(), NOTHING, NOTHING, segment=0, seconds=0)
    segments = timed[-4 * len(found.blocks) :]
    names = "".join(calls[begin] for begin, _ in segments)
    assert names.startswith("ABBABAABABBABAAB")
    for begin, end in segments:
        assert set(calls[begin:end]) == {calls[begin]}
        assert calls[begin - 1] == calls[begin], "the call before a timed one is the same arm's"


def test_candidate_first_swaps_the_order():
    order = []

    def arm(name):
        return lambda: order.append(name) or time.sleep(0.0005)

    measure_pair(arm("A"), arm("B"), get("cpu"), NOTHING, NOTHING, seconds=0, candidate_first=True)
    assert order[0] == "B"


def test_a_slow_model_still_gets_the_fewest_blocks(patient):
    found = pair(seconds=0.0)
    assert len(found.blocks) == timing.BLOCKS
    assert len(found.baseline.samples) == 2 * timing.BLOCKS


def test_a_fast_model_stops_at_the_most_blocks(patient):
    assert len(pair(seconds=60.0).blocks) == timing.MOST_BLOCKS


def test_segments_last_as_long_as_asked_for(patient):
    found = pair(0.002, 0.0005, segment=1e-5)
    # A call takes 2 and 0.5 microseconds on the device's clock, a segment 10 or more.
    assert found.baseline.calls >= 5
    assert found.candidate.calls >= 20
    assert found.baseline.samples == pytest.approx([2e-6] * len(found.baseline.samples))


def test_opt_27_a_stopwatch_that_does_not_wait_is_invalid(patient):
    class Hasty(Counted):
        def stopwatch(self):
            return lambda: lambda: 0.02

    device = Hasty()
    found = measure_pair(device.work(1), device.work(1), device, NOTHING, NOTHING, seconds=0)
    assert "the stopwatch does not wait for the work" in found.invalid
    assert "baseline" in found.invalid


def test_opt_27_an_unsynchronised_stopwatch_is_invalid_and_its_synchronised_twin_is_not(patient):
    """A queue like a GPU's: calls return at once, and only waiting moves the clock."""

    class Queued(Target):
        def __init__(self, waits):
            self.now, self.queue, self.waits, self.waited = 0.0, 0.0, waits, 0

        def work(self):
            self.queue += 1e-3
            self.now += 1e-6  # what handing over takes

        def synchronize(self):
            self.waited += 1
            self.now += self.queue
            self.queue = 0.0

        def stopwatch(self):
            def start():
                self.now += 1e-3  # a floor, as reading events has
                began = self.now

                def stop():
                    if self.waits:
                        self.synchronize()
                    return self.now - began + 1e-4

                return stop

            return start

    for waits, said in ((False, "does not wait for the work"), (True, None)):
        device = Queued(waits)
        found = measure_pair(
            device.work, device.work, device, NOTHING, NOTHING, segment=5e-5, seconds=0
        )
        assert (said in found.invalid) if said else found.invalid is None
        if waits:
            segments = len(found.baseline.samples) + len(found.candidate.samples)
            assert device.waited >= segments, "one synchronisation a segment"


def test_a_candidate_alone_that_is_not_waited_for_is_named(patient):
    device = Counted(1e-3)
    waiting = {"left": 0.0}

    def queued():
        if not waiting["left"]:
            waiting["left"] = 1.0
            device.now += 0.02

    def clears():
        waiting["left"] = 0.0
        device.now += 0.02

    found = measure_pair(clears, queued, device, NOTHING, NOTHING, segment=1e-5, seconds=0)
    assert "calls of the candidate take" in found.invalid


def test_a_stopwatch_that_stands_still_is_invalid_and_ends():
    class Still(Counted):
        def stopwatch(self):
            return lambda: lambda: 0.0

    device = Still()
    found = measure_pair(device.work(1), device.work(1), device, NOTHING, NOTHING, seconds=0)
    assert found.invalid
    assert found.blocks == []


def test_a_stopwatch_faster_than_the_wall_clock_is_invalid():
    device = Counted(scale=1000.0)
    found = measure_pair(device.work(1), device.work(1), device, NOTHING, NOTHING, seconds=0)
    assert "of wall time" in found.invalid


def test_opt_24_what_happens_while_timing_can_make_it_invalid(patient):
    events = []

    def watch():
        events.append("after the warm-up")
        return lambda: "recompiled 3 times while it was timed"

    assert pair(watch=watch).invalid == "recompiled 3 times while it was timed"
    assert events == ["after the warm-up"]
    assert pair(watch=lambda: lambda: None).invalid is None


def test_a_candidate_that_keeps_getting_slower_is_not_steady(patient):
    device = Counted(1e-3)
    state = {"seconds": 0.002}

    def slower():
        state["seconds"] *= 1.001
        device.now += state["seconds"]

    found = measure_pair(
        device.work(0.002), slower, device, NOTHING, NOTHING, segment=1e-5, seconds=0
    )
    assert found.trend < -0.02
    verdict = steady.judge([found.blocks] * 2)
    assert verdict.steady is False
    assert "the candidate gets slower" in verdict.reason()
    assert steady.judge([pair().blocks] * 2).steady


def test_the_warm_up_lasts_until_the_trend_is_gone(patient):
    device = Counted(1e-3)
    state = {"calls": 0}

    def warming():
        state["calls"] += 1
        device.now += 0.002 * (1 + math.exp(-state["calls"] / 60))

    found = measure_pair(
        device.work(0.002), warming, device, NOTHING, NOTHING, segment=1e-5, seconds=5
    )
    assert found.warmup["settled"]
    assert found.warmup["blocks"] > 4
    assert found.log_ratio == pytest.approx(0, abs=0.02)


def test_nothing_is_collected_inside_a_segment_and_the_collector_comes_back(patient):
    seen = set()
    device = Counted(1e-3)

    def call():
        seen.add(gc.isenabled())
        device.now += 0.002

    measure_pair(call, call, device, NOTHING, NOTHING, segment=1e-5, seconds=0)
    assert seen == {False}
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_the_collector_comes_back_after_an_exception():
    def breaks():
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        measure_pair(breaks, breaks, get("cpu"), NOTHING, NOTHING, seconds=0)
    assert gc.isenabled()


def test_no_gradient_is_recorded_while_timing():
    layer = torch.nn.Linear(2, 2)
    seen = set()

    def call(x):
        seen.add(layer(x).requires_grad)

    batch = ((torch.ones(1, 2),), {})
    measure_pair(call, call, get("cpu"), batch, batch, segment=1e-4, seconds=0)
    assert seen == {False}


@pytest.mark.parametrize(
    ("times", "jumped"),
    [
        ((1.0, 1.0, 1.0), False),
        ((1.0, 1.0004, 1.0), False),
        ((0.0001, 0.0003, 0.0001), False),
        ((1.0, 1.0, 61.0), True),
        ((1.0, 0.5, 1.0), True),
        ((60.0, 1.0, 1.0), True),
    ],
)
def test_clocks_that_disagree_are_a_problem(times, jumped):
    problem = monitors.clock_problem(*times)
    assert (problem is not None) is jumped
    assert problem is None or problem.startswith("the clock jumped")


def test_monitors_see_this_process_work():
    stop = monitors.watch()
    total = sum(range(200_000))
    seen, problem = stop()
    assert total
    assert problem is None
    assert seen["wall_s"] > 0
    assert seen["cpu_s"] >= 0
    assert all(value is None or value >= 0 for value in seen.values())


def test_single_calls_come_after_the_blocks_in_turns(patient):
    found = pair(0.002, 0.001, single_seconds=5.0)
    # A thousandth of the work, as the stub's clock tells it.
    assert found.baseline.singles == pytest.approx([2e-6] * len(found.baseline.singles))
    assert found.candidate.singles == pytest.approx([1e-6] * len(found.candidate.singles))
    assert len(found.baseline.singles) == len(found.candidate.singles) == SINGLE_CALLS
    assert pair().baseline.singles == []


def test_outliers_are_counted_and_stay(patient):
    device = Counted(1e-3)

    def arm(hiccups):
        calls = itertools.count()

        def call():
            number = next(calls)
            device.now += 1.0 if hiccups and number % 13 == 0 else 0.02 + 1e-5 * (number % 5)

        return call

    found = measure_pair(arm(True), arm(False), device, NOTHING, NOTHING, segment=1e-5, seconds=5)
    assert found.baseline.outliers > 0
    assert found.candidate.outliers == 0
    assert max(found.baseline.samples) == pytest.approx(1e-3)


def test_what_the_device_tells_is_kept_with_the_monitors(patient):
    class Watched(Counted):
        def watch(self):
            return lambda: {"other_processes": 1}

    device = Watched(1e-3)
    found = measure_pair(
        device.work(0.002), device.work(0.002), device, NOTHING, NOTHING, segment=1e-5, seconds=0
    )
    assert found.monitors["device"] == {"other_processes": 1}
    assert pair().monitors["device"] is None


def test_opt_29_threads_and_cpus_are_recorded_once_for_both_sides(patient):
    found = pair()
    assert found.settings["threads"] == torch.get_num_threads()
    assert found.settings["cpus"] == affinity.text(affinity.allowed())
