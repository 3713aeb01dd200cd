"""Reading what a gate recorded without relying on its shape."""

from __future__ import annotations

from typing import Any


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """The value where it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """The value where it is a number, else None; true and false are none."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
