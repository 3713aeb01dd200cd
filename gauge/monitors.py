"""What happens around a measurement: clocks that jump, load, page faults."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Clock rates are steered by at most 500 ppm; a jump of a suspended or moved machine is far more.
_CLOCK_SHARE = 0.005
_CLOCK_SECONDS = 0.002
# Three readings take a microsecond; a process that is set aside meanwhile is so for milliseconds.
_AT_ONCE_S = 1e-4
_TRIES = 50


def clock_problem(counted: float, raw: float, boot: float) -> str | None:
    """A sentence when three clocks tell different seconds for the same stretch, or None.

    counted: time.perf_counter. raw: CLOCK_MONOTONIC_RAW, which nothing steers. boot:
    CLOCK_BOOTTIME, which also runs while the machine is suspended.
    """
    allowed = _CLOCK_SECONDS + _CLOCK_SHARE * max(counted, raw, boot)
    for name, other in (("the unsteered clock", raw), ("the clock since boot", boot)):
        if abs(other - counted) > allowed:
            return f"the clock jumped: {counted:.3f} s by the one used, {other:.3f} s by {name}"
    return None


def watch() -> Callable[[], tuple[dict[str, Any], str | None]]:
    """Start watching; the result, when called, tells (what was seen, problem or None).

    Seen: wall and own CPU seconds, context switches (voluntary and not), page faults (minor and
    major), `steal` and `others` as a share of one CPU's time (the hypervisor's, and everything
    else that ran on this machine), load average at the end. None where /proc tells nothing.
    """
    began = _now()

    def stop() -> tuple[dict[str, Any], str | None]:
        ended = _now()
        passed = {name: ended[name] - began[name] for name in began}
        wall = passed["counted"]
        problem = clock_problem(wall, passed["raw"], passed["boot"])
        seen = {
            "wall_s": wall,
            "cpu_s": passed["cpu"],
            "involuntary_switches": int(passed["involuntary"]),
            "voluntary_switches": int(passed["voluntary"]),
            "minor_faults": int(passed["minor"]),
            "major_faults": int(passed["major"]),
            "steal": passed["steal"] / wall if "steal" in passed else None,
            "others": max(0.0, passed["busy"] - passed["cpu"]) / wall if "busy" in passed else None,
            "load": os.getloadavg()[0],
        }
        return seen, problem

    return stop


def _read() -> tuple[float, float, float, float]:
    """The clock in use before and after the two others: (it, unsteered, since boot, it again)."""
    return (
        time.perf_counter(),
        time.clock_gettime(time.CLOCK_MONOTONIC_RAW),
        time.clock_gettime(time.CLOCK_BOOTTIME),
        time.perf_counter(),
    )


def clocks(read: Callable[[], tuple[float, float, float, float]] = _read) -> dict[str, float]:
    """The three clocks at one moment: read again where something else ran in between.

    On a busy machine a process waits for some milliseconds between two readings now and then,
    which looks like a jump of one of them.
    """
    best = read()
    for _ in range(_TRIES):
        if best[3] - best[0] <= _AT_ONCE_S:
            break
        best = min(best, read(), key=lambda one: one[3] - one[0])
    return {"counted": best[0], "raw": best[1], "boot": best[2]}


def _now() -> dict[str, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **clocks(),
        "cpu": usage.ru_utime + usage.ru_stime,
        "involuntary": usage.ru_nivcsw,
        "voluntary": usage.ru_nvcsw,
        "minor": usage.ru_minflt,
        "major": usage.ru_majflt,
        **_machine_seconds(),
    }


def _machine_seconds() -> dict[str, float]:
    """CPU seconds of the whole machine since boot: busy (without stolen), and stolen."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return {}
    ticks = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _wait, irq, soft, steal = (int(word) / ticks for word in words[1:9])
    return {"busy": user + nice + system + irq + soft, "steal": steal}
