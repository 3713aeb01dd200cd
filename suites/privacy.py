"""Keep names of this machine and its user out of what a run writes."""

from __future__ import annotations

import getpass
import os
import re
import socket
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from suites.catalog import ROOT

LONG_ENOUGH = 4


@cache
def _replacements(places: tuple[tuple[str, str], ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Longest first, so that a folder inside the home folder keeps its own short name."""
    found = dict(places)
    found.setdefault(str(ROOT), ".")
    found.setdefault(str(Path.home()), "~")
    found.setdefault(tempfile.gettempdir(), "TMP")
    patterns = [
        (re.compile(re.escape(text.rstrip("/")) + r"(?=$|[/\s:'\"),;])"), short)
        for text, short in sorted(found.items(), key=lambda one: -len(one[0]))
        if len(text.rstrip("/")) > 1
    ]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        user = ""
    for name, short in ((socket.gethostname(), "HOST"), (user, "USER")):
        # A very short name, or "root", is part of ordinary words and tells nobody anything.
        if len(name) >= LONG_ENOUGH and name not in ("root", "localhost"):
            patterns.append((re.compile(rf"(?<!\w){re.escape(name)}(?!\w)"), short))
    for name, value in os.environ.items():
        if re.search(r"TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL", name) and len(value) >= 8:
            patterns.append((re.compile(re.escape(value)), "REDACTED"))
    return tuple(patterns)


def scrub(value: Any, places: Mapping[Path, str] | None = None) -> Any:
    """The same plain data with this machine's names, folders and secrets replaced in every string.

    places: more folders, and what to write for them.
    """
    known = tuple((str(path), short) for path, short in (places or {}).items())
    return _scrub(value, _replacements(known))


def _scrub(value: Any, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> Any:
    if isinstance(value, str):
        for pattern, short in patterns:
            value = pattern.sub(short, value)
        return value
    if isinstance(value, Mapping):
        return {key: _scrub(item, patterns) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrub(item, patterns) for item in value]
    return value
