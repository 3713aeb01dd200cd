"""Checks plain data against the part of JSON Schema that schema.json uses.

`schema.json` is the one description of a record; this module only interprets it, so that the
published file and what is accepted cannot drift apart.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

VERSION = 1
"""The version of the records this code writes, and the newest it reads."""

_LARGEST_BITS = 1000
_NUMBERS = {"type": ["number", "null"]}

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


@cache
def load() -> dict[str, Any]:
    """The content of schema.json."""
    text = (Path(__file__).parent / "schema.json").read_text(encoding="utf-8")
    return json.loads(text)


@cache
def choices(field: str) -> tuple[str, ...]:
    """The values a verdict's field may have (`gate`, `status`, `class`), without null."""
    values = load()["$defs"]["verdict"]["properties"][field]["enum"]
    return tuple(value for value in values if value is not None)


def problem(record: Any, kind: str) -> str | None:
    """What is wrong with a record of that kind ("run" or "verdict"), naming the field, or None."""
    return _check(record, load()["$defs"][kind], "")


def not_plain(value: Any, path: str = "") -> str | None:
    """Names the first field that strict JSON cannot hold (a NaN, a key that is no string)."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                return f"{_at(path)} has the key {key!r}, which is not a string"
            if found := not_plain(part, _join(path, key)):
                return found
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            if found := not_plain(part, f"{path}[{index}]"):
                return found
    elif isinstance(value, float):
        if not math.isfinite(value):
            return f"{_at(path)} is {float(value)!r}, not a finite number"
    elif isinstance(value, int):
        if value.bit_length() > _LARGEST_BITS:
            return f"{_at(path)} is a whole number that no float can hold"
    elif value is not None and not isinstance(value, str):
        return f"{_at(path)} is a {type(value).__name__}, which is not plain data"
    return None


def _check(value: Any, schema: dict[str, Any], path: str) -> str | None:
    if "$ref" in schema:
        schema = load()["$defs"][schema["$ref"].rpartition("/")[2]]
    if "const" in schema and value != schema["const"]:
        return f"{_at(path)} is {_short(value)}, not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(str(choice) for choice in schema["enum"] if choice is not None)
        return f"{_at(path)} is {_short(value)}, not one of {known}"
    if "type" in schema and not _is(value, schema["type"]):
        return f"{_at(path)} is {_short(value)}, not {_names(schema['type'])}"
    if isinstance(value, dict):
        return _check_object(value, schema, path)
    if isinstance(value, (list, tuple)) and "items" in schema:
        return _check_items(value, schema["items"], path)
    return _check_bounds(value, schema, path)


def _check_object(value: dict[str, Any], schema: dict[str, Any], path: str) -> str | None:
    for name in schema.get("required", ()):
        if name not in value:
            return f"{_at(_join(path, name))} is missing"
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    for name, part in value.items():
        rule = known.get(name, rest)
        if rule is not None and (found := _check(part, rule, _join(path, name))):
            return found
    return None


def _check_items(value: Any, schema: dict[str, Any], path: str) -> str | None:
    # Samples are most of a file: one pass over the types instead of a call a number.
    if schema == _NUMBERS and {type(part) for part in value} <= {float, int, type(None)}:
        return None
    for index, part in enumerate(value):
        if found := _check(part, schema, f"{path}[{index}]"):
            return found
    return None


def _check_bounds(value: Any, schema: dict[str, Any], path: str) -> str | None:
    if value is None:
        return None
    if "minimum" in schema and value < schema["minimum"]:
        return f"{_at(path)} is {value!r}, below {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        return f"{_at(path)} is {value!r}, above {schema['maximum']}"
    if "minLength" in schema and len(value) < schema["minLength"]:
        return f"{_at(path)} is empty"
    return None


def _is(value: Any, types: str | list[str]) -> bool:
    for name in [types] if isinstance(types, str) else types:
        # bool is an int in Python, not in JSON.
        if isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool)):
            return True
    return False


def _names(types: str | list[str]) -> str:
    return types if isinstance(types, str) else " or ".join(types)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _at(path: str) -> str:
    return f"field {path!r}" if path else "the record"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
