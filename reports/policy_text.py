"""Changing policy.toml as text: one value, or an entry more, and nothing else of it.

By places, not by writing the whole file anew: what is read as data and written again loses comments
and layout, and libraries that keep those move entries where kinds alternate. Every change is read
back and compared with what was meant.
"""

from __future__ import annotations

import datetime
import difflib
import io
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from gauge.policy_lines import Block, locate, value_span
from reports.records import RecordError

Value = str | float | int | bool | datetime.date


def literal(value: Value) -> str:
    """A value as TOML."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for one control that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value) if not isinstance(value, bool) else str(value).lower()


def place(text: str, kind: str, line: int) -> tuple[int, Block]:
    """The entry of a kind whose header or one of whose keys is at a line: its index and block.

    LookupError, with what there is at that line, when there is none.
    """
    blocks = [block for block in locate(text).blocks if block.name == kind]
    for index, block in enumerate(blocks):
        if line == block.line or line in block.keys.values():
            return index, block
    raise LookupError(f"line {line} is in no [[{kind}]]")


def with_value(text: str, kind: str, line: int, key: str, value: Value) -> str:
    """The text with another value of a key that the entry at a line has."""
    index, block = place(text, kind, line)
    start, end = value_span(text, block.keys[key])
    changed = text[:start] + literal(value) + text[end:]
    wanted = tomllib.loads(text)
    wanted[kind][index][key] = value
    return _checked(changed, wanted)


def with_entry(text: str, kind: str, fields: Mapping[str, Value]) -> str:
    """The text with one entry more at its end."""
    lines = [f"[[{kind}]]", *(f"{key} = {literal(value)}" for key, value in fields.items())]
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text.strip() else end if text.endswith("\n") else end + end
    wanted = tomllib.loads(text)
    wanted.setdefault(kind, []).append(dict(fields))
    return _checked(text + gap + end.join(lines) + end, wanted)


def _checked(text: str, wanted: object) -> str:
    try:
        found: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = str(error)
    if found != wanted:
        what = "an entry that cannot be changed where it stands"
        raise RecordError(None, None, what, "write each entry as [[limit]] or [[waiver]] lines")
    return text


def read(path: Path) -> str:
    """The file's text with its line ends as they are; it has been read as a policy before."""
    return path.read_bytes().decode()


def diff(path: Path, old: str, new: str) -> str:
    """What changed, as `git apply` and `patch -p1` take it; empty where nothing did."""
    name = os.path.relpath(path)
    lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{name}", f"b/{name}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    # Only \n ends a line: splitlines() would also split at characters that strings may hold.
    return list(io.StringIO(text, newline="\n"))
