"""What every entry of policy.toml is read with: errors with their place, and checked fields."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from gauge.names import is_glob, suggestion
from gauge.policy_lines import Block
from gauge.verdict import GATES


class PolicyError(ValueError):
    """A mistake in a policy: where it is, what was found, what is expected."""

    def __init__(self, file: str, line: int | None, found: str, expected: str):
        self.file, self.line, self.found, self.expected = file, line, found, expected
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: found {found}; expected {expected}")


@dataclass(frozen=True)
class Known:
    """The names a policy may use. models, techniques: with or without parameters.

    None where any name may be used: by a reader that has no catalogue of them.
    """

    models: Collection[str] | None = ()
    techniques: Collection[str] | None = ()
    families: Collection[str] | None = ()
    targets: Collection[str] | None = ()
    gates: Collection[str] = GATES
    capabilities: Collection[str] | None = None

    @classmethod
    def anything(cls) -> Known:
        """Every name is as good as another."""
        return cls(None, None, None, None)


def kind_of(value: Any) -> str:
    """A value's type in TOML's words."""
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {
        str: "a string",
        int: "an integer",
        float: "a float",
        list: "an array",
        dict: "a table",
        datetime.datetime: "a date with a time",
        datetime.date: "a date",
        datetime.time: "a time",
    }
    return next(name for type_, name in names.items() if isinstance(value, type_))


def short(value: Any) -> str:
    """A value for an error message, cut where it is long."""
    text = repr(value) if not isinstance(value, (datetime.date, datetime.time)) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Fields:
    """One entry, whose fields are checked as they are read."""

    def __init__(
        self, kind: str, row: dict[str, Any], block: Block, file: str, shown: str, known: Known
    ):
        self.kind, self.row, self.block, self.file, self.known = kind, row, block, file, known
        self.source = f"{shown}:{block.line}"

    def fail(self, key: str | None, found: str, expected: str) -> PolicyError:
        """The error, at the key's own line where it has one."""
        line = self.block.keys.get(key, self.block.line) if key else self.block.line
        return PolicyError(self.file, line, found, expected)

    def only(self, fields: Collection[str]) -> None:
        """Raise for a key that is none of these."""
        for key in self.row:
            if key not in fields:
                raise self.fail(
                    key,
                    f"unknown key {key!r} in [[{self.kind}]]",
                    "one of " + ", ".join(fields) + suggestion(key, fields),
                )

    def unknown(self, key: str, value: str, names: Iterable[str]) -> PolicyError:
        """The error for a name that is none of these."""
        listed = ", ".join(sorted(names)) or "none is known"
        hint = suggestion(value, names)
        closed = key in ("gate", "gates", "class")
        optional = "" if closed else " (for a plug-in's name: optional = true)"
        what = "that matches no name" if is_glob(value) else "unknown"
        return self.fail(key, f"{key} {value!r}, {what}", f"one of {listed}{hint}{optional}")

    def text(self, key: str, numbers: bool = False) -> str:
        """A string that says something, as one line."""
        if key not in self.row:
            raise self.fail(None, f"a {self.kind} without {key}", f"{key}, a string")
        value = self.row[key]
        if numbers and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(key, f"{key} = {short(value)}", "a string that is not empty")
        return " ".join(value.split())

    def texts(self, key: str) -> tuple[str, ...]:
        """One string or an array of them, none of them empty."""
        if key not in self.row:
            raise self.fail(None, f"a {self.kind} without {key}", f"{key}, an array of strings")
        value = self.row[key]
        rows = [value] if isinstance(value, str) else value
        if not isinstance(rows, list) or not rows:
            raise self.fail(key, f"{key} = {short(value)}", "an array of strings, at least one")
        for one in rows:
            if not isinstance(one, str) or not one.strip():
                raise self.fail(key, f"{short(one)} in {key}", "a string that is not empty")
        return tuple(dict.fromkeys(one.strip() for one in rows))

    def flag(self, key: str, default: bool) -> bool:
        """true or false, or the default."""
        value = self.row.get(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, f"{key} = {short(value)}", "true or false")
        return value

    def date(self, key: str) -> datetime.date:
        """A date without a time."""
        if key not in self.row:
            raise self.fail(None, f"a {self.kind} without {key}", f"{key}, a date")
        value = self.row[key]
        if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            raise self.fail(key, f"{key} = {short(value)}", "a date, without quotes: 2027-01-31")
        return value
