"""What a person sees while it runs: which cell, which stage, how many are left, how long."""

from __future__ import annotations

import time
from typing import Any

from suites.durations import spoken

REFRESH_SECONDS = 0.5


class Progress:
    """A status line that rewrites itself on a terminal; plain lines elsewhere (CI logs)."""

    def __init__(self, writer: Any, *, terminal: bool, quiet: bool) -> None:
        self.writer = writer
        self.terminal = terminal
        self.quiet = quiet
        self.total = 0
        self.done = 0
        self._text = ""
        self._began = self._drawn = 0.0
        self._shown = False
        self.remaining: Any = None

    def start(self, label: str, stage: str) -> None:
        """A stage of a cell begins."""
        left = spoken(self.remaining()) if self.remaining else "?"
        self._text = f"[{self.done}/{self.total}] {label}: {stage}"
        self._began, self._drawn = time.monotonic(), 0.0
        if not self.terminal and not self.quiet:
            self.line(f"{self._text} (about {left} left)")

    def tick(self) -> None:
        """Redraw; called often while a stage runs."""
        now = time.monotonic()
        if not self.terminal or self.quiet or now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        left = spoken(self.remaining()) if self.remaining else "?"
        text = f"{self._text} {now - self._began:.0f} s, about {left} left"
        width = max(20, getattr(self.writer, "fullwidth", 80) - 1)
        self.writer.write(f"\r\x1b[K{text[:width]}", flush=True)
        self._shown = True

    def clear(self) -> None:
        """Take the status line away, before anything else is printed."""
        if self._shown:
            self.writer.write("\r\x1b[K", flush=True)
            self._shown = False

    def line(self, text: str, **markup: bool) -> None:
        """Print a line that stays."""
        self.clear()
        if not self.quiet:
            self.writer.line(text, **markup)
