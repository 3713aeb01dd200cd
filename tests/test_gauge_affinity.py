"""The timing process's CPUs: pinned for every thread, and watched."""

from __future__ import annotations

import os
import threading

import pytest

from gauge import affinity, timing
from gauge.targets import get

NOTHING = ((), {})


@pytest.fixture
def cpus():
    """All CPUs that this machine lends us, put back afterwards."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    most = affinity.allowed()
    if len(most) < 2:
        os.sched_setaffinity(0, before)
        pytest.skip("one CPU: there is nowhere else to go")
    yield most
    affinity.pin(frozenset(before))


def test_cpus_are_listed_as_the_kernel_does():
    assert affinity.text(frozenset([0])) == "0"
    assert affinity.text(frozenset([3, 0, 1, 2, 8, 10, 11])) == "0-3,8,10-11"


def test_every_thread_is_pinned(cpus):
    seen, ready, go = [], threading.Event(), threading.Event()

    def other():
        os.sched_setaffinity(0, {min(cpus)})
        ready.set()
        go.wait(10)
        seen.append(affinity.allowed())

    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(10)
    affinity.pin(cpus)
    go.set()
    thread.join()
    assert seen == [cpus]


def test_an_arm_that_moves_the_timing_thread_is_invalid(cpus):
    def moves():
        os.sched_setaffinity(0, {max(cpus)})

    found = timing.measure_pair(
        moves, lambda: None, get("cpu"), NOTHING, NOTHING, segment=1e-5, seconds=0
    )
    assert f"from CPUs {affinity.text(cpus)} to {max(cpus)}" in found.invalid
    assert found.settings["cpus"] == affinity.text(cpus)


def test_an_arm_that_stays_is_valid():
    assert affinity.problem(frozenset([0, 1]), frozenset([0, 1])) is None
