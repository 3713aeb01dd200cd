"""What a person sees while it runs: which cell, which stage, how many are left, how long."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from suites.durations import spoken

REFRESH_SECONDS = 0.5
COLOURS = {"red": "31", "yellow": "33"}


class Progress:
    """A status line that rewrites itself on a terminal; plain lines elsewhere (CI logs)."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.total = 0
        self.done = 0
        self.unit = "gates"
        self.remaining: Callable[[], float] | None = None
        self.terminal = not quiet and sys.stdout.isatty()
        self._file = None if quiet else _own_stdout()
        self._text = ""
        self._began = self._drawn = 0.0
        self._shown = False

    def start(self, label: str, stage: str) -> None:
        """A stage of a cell begins."""
        self._text = f"[{self.done}/{self.total} {self.unit}] {label}: {stage}"
        self._began, self._drawn = time.monotonic(), 0.0
        if not self.terminal:
            self.line(f"{self._text}{self._left()}")

    def tick(self) -> None:
        """Redraw; called often while a stage runs."""
        now = time.monotonic()
        if not self.terminal or now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        text = f"{self._text} {now - self._began:.0f} s{self._left()}"
        width = max(20, shutil.get_terminal_size().columns - 1)
        self._write(f"\r\x1b[K{text[:width]}")
        self._shown = True

    def clear(self) -> None:
        """Take the status line away, before anything else is printed."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def line(self, text: str, colour: str | None = None) -> None:
        """Print a line that stays."""
        self.clear()
        if colour and self.terminal:
            text = f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"
        self._write(f"{text}\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _left(self) -> str:
        return f", about {spoken(self.remaining())} left" if self.remaining else ""

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text)
            self._file.flush()


def _own_stdout() -> TextIO | None:
    """Standard output as it is now: later pytest captures what a running test prints."""
    try:
        return os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # no file behind it, as under a test of this plugin
        return None
