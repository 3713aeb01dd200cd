"""The CPUs that a timing process may use: the same for both arms, from beginning to end."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def allowed() -> frozenset[int]:
    """The CPUs that the scheduler may give to this thread."""
    return frozenset(os.sched_getaffinity(0))


def pin(cpus: frozenset[int]) -> None:
    """Hold every thread of this process to these CPUs.

    A runtime that is loaded may bind threads as it likes; threads that start later inherit the
    CPUs of the thread that starts them, and the other arm would get what this one left.
    """
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # the thread has ended meanwhile
            os.sched_setaffinity(int(task.name), cpus)


def problem(before: frozenset[int], after: frozenset[int]) -> str | None:
    """A sentence when an arm changed the CPUs of the thread that times both, or None."""
    if before == after:
        return None
    return (
        f"an arm moved the timing thread from CPUs {text(before)} to {text(after)} while it was "
        "timed: the other arm ran elsewhere than it would by itself"
    )


def text(cpus: frozenset[int]) -> str:
    """CPUs as the kernel lists them: `0-3,8`."""
    parts: list[str] = []
    ordered = sorted(cpus)
    for index, cpu in enumerate(ordered):
        if index and ordered[index - 1] == cpu - 1:
            parts[-1] = f"{parts[-1].partition('-')[0]}-{cpu}"
        else:
            parts.append(str(cpu))
    return ",".join(parts)
