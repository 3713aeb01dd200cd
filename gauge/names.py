"""Matching the names of models, techniques and targets: globs, parameters, suggestions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def is_glob(pattern: str) -> bool:
    """Whether a pattern has a wildcard; only `*` and `?` are, `[` is an ordinary character."""
    return "*" in pattern or "?" in pattern


def glob_matches(pattern: str, name: str) -> bool:
    """Whether a glob covers the whole name; upper and lower case are told apart.

    Not by a regular expression: those take minutes for a dozen stars.
    """
    head, *tail = pattern.split("*")
    if not tail:
        return len(head) == len(name) and _covers(head, name, 0)
    *middle, last = tail
    if len(head) + len(last) > len(name) or not _covers(head, name, 0):
        return False
    # Between stars the leftmost place for each part is as good as any.
    place, end = len(head), len(name) - len(last)
    for part in middle:
        while place + len(part) <= end and not _covers(part, name, place):
            place += 1
        if place + len(part) > end:
            return False
        place += len(part)
    return _covers(last, name, end)


def _covers(part: str, name: str, place: int) -> bool:
    """Whether a part without stars fits at a place; `?` fits any one character."""
    return all(
        want in ("?", have)
        for want, have in zip(part, name[place : place + len(part)], strict=True)
    )


def base(name: str) -> str:
    """The name without its parameters: `prune:0.5+static_int8` is `prune+static_int8`."""
    return "+".join(stage.partition(":")[0] for stage in name.split("+"))


def names_match(pattern: str, name: str) -> bool:
    """Whether a pattern covers a model, or a technique or pipeline, with its parameters.

    A glob is compared with the full name. What has no `:` covers every variant: `prune` covers
    `prune:0.5` (but no pipeline), `prune+int8` covers `prune:0.5+int8`.
    """
    if is_glob(pattern):
        if glob_matches(pattern, name):
            return True
        return ":" not in pattern and glob_matches(pattern, base(name))
    asked, given = pattern.split("+"), name.split("+")
    return len(asked) == len(given) and all(
        want == have or (":" not in want and want == base(have))
        for want, have in zip(asked, given, strict=True)
    )


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing when none is near."""
    near = difflib.get_close_matches(wrong, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
