"""Which turns a job takes, and telling that it waits for them.

A timed section has its device alone; everything else shares the devices that it uses. Timing on a
GPU shares the CPU: it keeps no build from running, but no CPU is timed meanwhile, and the load that
was seen is in its record. Locks do not cross containers: there the recorded load must do.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from gauge.turns import Turns
from suites.progress import Progress

CPU = "cpu"
TELL_AFTER_SECONDS = 1.0
TELL_AGAIN_SECONDS = 60.0
WORDS = {"timing": "another run's or worker's timing", "builds": "builds beside it"}


class Sections:
    """The turns of one run's jobs, and how long it waited for them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.waited = dict.fromkeys(WORDS, 0.0)
        self._told = float("-inf")

    def check(self) -> None:
        """gauge.turns.LockError when timed sections cannot be kept apart here."""
        Turns(CPU).check()

    @contextlib.contextmanager
    def hold(
        self, devices: Sequence[str], label: str, stage: str, *, timed: bool
    ) -> Iterator[float]:
        """Hold the devices, the first one alone if timed; gives the seconds waited.

        devices: the job's own first, always in the same order, so that no two jobs wait for each
        other.
        """
        with contextlib.ExitStack() as stack:
            waited = 0.0
            for number, device in enumerate(devices):
                waiting = _Waiting(self, device, label, stage)
                turn = Turns(device).hold(exclusive=timed and number == 0, waiting=waiting)
                waited += stack.enter_context(turn)
                waiting.over()
            yield waited

    def tell(self, label: str, text: str) -> None:
        """Show it: on a terminal's status line, elsewhere as a line now and then."""
        now = time.monotonic()
        if self.progress.terminal or now - self._told > TELL_AGAIN_SECONDS:
            self._told = now
            self.progress.start(label, text)


class _Waiting:
    """One wait: called while it lasts, tells of it when it is long."""

    def __init__(self, sections: Sections, device: str, label: str, stage: str) -> None:
        self.sections, self.device, self.label, self.stage = sections, device, label, stage
        self.began = self.last = time.monotonic()
        self.told: str | None = None

    def __call__(self, what: str) -> None:
        now = time.monotonic()
        self.sections.waited[what] += now - self.last
        self.last = now
        if what != self.told and now - self.began > TELL_AFTER_SECONDS:
            self.told = what
            words = f"waiting for {WORDS[what]} ({self.device})"
            self.sections.tell(self.label, f"{self.stage}, {words}")
        self.sections.progress.tick()

    def over(self) -> None:
        if self.told and self.sections.progress.terminal:
            self.sections.progress.start(self.label, self.stage)
