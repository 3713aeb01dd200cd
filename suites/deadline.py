"""--max-minutes: what has begun is finished, nothing else is started."""

from __future__ import annotations

import time


class TimeUp(Exception):
    """The minutes that a run was given are over: this job is not started."""


class Deadline:
    """When a run stops; None: never. minutes: counted from now."""

    def __init__(self, minutes: float | None) -> None:
        self.minutes = minutes
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def check(self) -> None:
        """Raise TimeUp once the time is over."""
        if self._end is not None and time.monotonic() >= self._end:
            raise TimeUp(f"--max-minutes {self.minutes:g} are over: not asked in this run")
