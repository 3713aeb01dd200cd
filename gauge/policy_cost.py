"""The policy's [cost]: what an hour of a machine like this one costs."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from gauge.names import suggestion
from gauge.policy_fields import PolicyError

TABLE = "cost"
KEYS = ("hour", "currency", "example", "reason")


@dataclass(frozen=True)
class Price:
    """hour: money for an hour of this host; None or 0 leaves cost not available.

    example: whether the price is only an example, and is told to be one.
    """

    hour: float | None = None
    currency: str = ""
    example: bool = False
    source: str = "the policy"

    def as_dict(self) -> dict[str, Any]:
        """The price as a record holds it."""
        return {
            "hour": self.hour,
            "currency": self.currency,
            "example": self.example,
            "source": self.source,
        }


def read(text: str, file: str, shown: str) -> Price:
    """The price in a policy's text, which is valid TOML; PolicyError names file and line.

    shown: names the file in records.
    """
    table = tomllib.loads(text).get(TABLE)
    if table is None:
        return Price(source=shown)
    lines = _lines(text)
    here = lines.get("", 1)

    def fail(key: str, found: str, expected: str) -> PolicyError:
        return PolicyError(file, lines.get(key, here), found, expected)

    if not isinstance(table, dict):
        raise fail("", f"{TABLE!r} that is no table", f"one [{TABLE}] with {', '.join(KEYS)}")
    for key in table:
        if key not in KEYS:
            hint = suggestion(key, KEYS)
            raise fail(key, f"unknown key {key!r} in [{TABLE}]", f"one of {', '.join(KEYS)}{hint}")
    hour = table.get("hour")
    number = isinstance(hour, int | float) and not isinstance(hour, bool)
    if hour is not None and not (number and math.isfinite(hour) and hour >= 0):
        raise fail("hour", f"hour = {hour!r}", "a price from 0 up (0: not available)")
    for key in ("currency", "reason"):
        if not isinstance(table.get(key, ""), str):
            raise fail(key, f"{key} = {table[key]!r}", "a string")
    if hour and not table.get("currency", "").strip():
        raise fail("currency", "a price without currency", 'currency, such as "USD"')
    example = table.get("example", False)
    if not isinstance(example, bool):
        raise fail("example", f"example = {example!r}", "true or false")
    source = f"{shown}:{here}"
    return Price(float(hour) if hour else None, table.get("currency", ""), example, source)


def _lines(text: str) -> dict[str, int]:
    """The lines of the table's header ("") and of its keys."""
    found: dict[str, int] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*[\"']?([\w-]+)", line):
            inside = header[1] == TABLE
            if inside:
                found.setdefault("", number)
        elif inside and (key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line)):
            found.setdefault(key[1], number)
        elif not inside and re.match(rf"\s*{TABLE}\s*[.=]", line):
            found.setdefault("", number)
    return found
