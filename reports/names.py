"""Names that came from outside: made safe to show, and turned into stable anchors."""

from __future__ import annotations

import hashlib
import re

LONGEST_NAME = 120
LONGEST_LINE = 300
LONGEST_COMMAND = 1000
LONGEST_TEXT = 4000

_KEPT = re.compile(r"[^a-z0-9_.-]+")
# Controls, and halves of characters, that no page may hold; and those that reorder text: names are
# isolated by <bdi>, plain-text pages have no such thing.
_UNSHOWN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_REORDERING = re.compile(r"[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")


def clean(text: str) -> str:
    """Text with every character that HTML or UTF-8 cannot hold replaced by U+FFFD."""
    return _UNSHOWN.sub("\ufffd", text)


def visible(text: str) -> str:
    """Text in which characters that would reorder it (a command, say) show as U+FFFD."""
    return _REORDERING.sub("\ufffd", text)


def plain(text: str) -> str:
    """One line of text without line ends, controls or characters that reorder what follows."""
    return _REORDERING.sub("", " ".join(clean(text).split()))


def short(text: str, most: int = LONGEST_LINE) -> str:
    """Text cut to `most` characters; an ellipsis says so."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def first_line(text: str | None, most: int = LONGEST_LINE) -> str:
    """The first line that says something, cut to `most` characters."""
    return short((text or "").strip().partition("\n")[0].rstrip(), most)


def slug(*parts: str) -> str:
    """A page anchor for the parts: readable, the same every time, and unique.

    What had to be replaced or cut is told apart by a hash of the parts.
    """
    joined = "-".join(parts)
    kept = _KEPT.sub("_", joined.lower())[:48]
    if kept != joined or any("-" in part for part in parts):
        data = "\0".join(parts).encode("utf-8", "surrogatepass")
        kept = f"{kept}.{hashlib.sha256(data).hexdigest()[:8]}"
    return f"c-{kept}"
