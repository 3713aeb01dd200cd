"""What errors of libraries say, as part of a sentence."""

from __future__ import annotations

LONGEST = 300


def first_line(error: BaseException) -> str:
    """The first line of an error's message, cut to a length one can read; its type without one."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip()[:LONGEST] if lines else type(error).__name__


def named(error: BaseException) -> str:
    """The first line after the error's type.

    >>> named(ValueError("no such layer: 3"))
    'ValueError: no such layer: 3'
    """
    name, line = type(error).__name__, first_line(error)
    return line if line == name else f"{name}: {line}"
