"""Where things stand in a TOML file: tomllib gives values without line numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_QUOTES = ('"""', "'''", '"', "'")
_NAME = r"""(?:"([^"\n]*)"|'([^'\n]*)'|([A-Za-z0-9_-]+))"""
_HEADER = re.compile(rf"[ \t]*\[\[[ \t]*{_NAME}[ \t]*\]\]")
_TABLE = re.compile(rf"[ \t]*\[[ \t]*{_NAME}")
_KEY = re.compile(rf"[ \t]*{_NAME}[ \t]*[.=]")


@dataclass
class Block:
    """One `[[name]]` or `[name]`: the line of its header, and of each key below it."""

    name: str
    line: int
    keys: dict[str, int] = field(default_factory=dict)


@dataclass
class Lines:
    """Every `[[name]]` of a file in order, every `[name]`, the line of each top-level name."""

    blocks: list[Block] = field(default_factory=list)
    tables: dict[str, Block] = field(default_factory=dict)
    top: dict[str, int] = field(default_factory=dict)

    def block(self, name: str, index: int, count: int) -> Block:
        """The n-th of `count` entries of that name.

        Entries written in another way (`limit = [{…}]`) have no header of their own: they all
        stand at the line where the name first appears.
        """
        blocks = [block for block in self.blocks if block.name == name]
        if len(blocks) == count:
            return blocks[index]
        return Block(name, self.top.get(name, blocks[0].line if blocks else 1))


def _first(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None)


def locate(text: str) -> Lines:
    """Read the headers and keys of a TOML text that tomllib accepts."""
    lines, position, line = Lines(), 0, 1
    inside: dict[str, int] | None = None
    while position < len(text):
        if header := _HEADER.match(text, position):
            lines.blocks.append(Block(_first(header), line))
            inside = lines.blocks[-1].keys
        elif table := _TABLE.match(text, position):
            lines.top.setdefault(_first(table), line)
            inside = lines.tables.setdefault(_first(table), Block(_first(table), line)).keys
        elif key := _KEY.match(text, position):
            (lines.top if inside is None else inside).setdefault(_first(key), line)
        end = _statement_end(text, position)
        line += text.count("\n", position, end)
        position = end
    return lines


def value_span(text: str, line: int) -> tuple[int, int]:
    """Where the value of the key at a line (counted from 1) begins and ends, without comment."""
    position = 0
    for _ in range(line - 1):
        position = text.index("\n", position) + 1
    key = _KEY.match(text, position)
    if key is None:
        raise ValueError(f"line {line} has no key")
    start = key.end()
    while text[start] in " \t":
        start += 1
    if text[start] in "\"'":
        return start, _string_end(text, start)
    end = start
    while end < len(text) and text[end] not in "#\r\n":
        end += 1
    return start, start + len(text[start:end].rstrip())


def _statement_end(text: str, position: int) -> int:
    """The start of the next statement: past a newline outside strings, brackets and comments."""
    depth = 0
    while position < len(text):
        char = text[position]
        if char == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
            continue
        if char in "\"'":
            position = _string_end(text, position)
            continue
        if char == "\n" and depth == 0:
            return position + 1
        depth += (char in "[{") - (char in "]}")
        position += 1
    return position


def _string_end(text: str, position: int) -> int:
    quote = next(quote for quote in _QUOTES if text.startswith(quote, position))
    position += len(quote)
    while position < len(text):
        if text[position] == "\\" and quote[0] == '"':
            position += 2
        elif text.startswith(quote, position):
            position += len(quote)
            # A multi-line string may end in up to two quotes of its own before the closing three.
            while len(quote) == 3 and text.startswith(quote[0], position):
                position += 1
            return position
        else:
            position += 1
    return position
