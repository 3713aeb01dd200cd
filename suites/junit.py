"""What pytest's JUnit file holds beside outcomes: each gate's figures; and no name of this host."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

FIGURES = ("value", "low", "high", "unit", "better", "class", "family")


def properties(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    """`<property>` names and values of a gate; what it has no figure for is left out."""
    found: dict[str, object] = {"verdict": record["status"]}
    found |= {name: record.get(name) for name in FIGURES}
    limit = record.get("limit") or {}
    for end in ("min", "max"):
        if limit.get(end) is not None:
            found |= {"limit": limit[end], "limit_kind": end}
    found["limit_source"] = limit.get("source")
    return [(name, value) for name, value in found.items() if value is not None]


def without_host(config: pytest.Config) -> None:
    """Take the machine's name, which pytest writes into its JUnit file, out again."""
    name = getattr(config.option, "xmlpath", None)
    if not name or hasattr(config, "workerinput"):
        return
    path = Path(name)
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f" hostname={quoteattr(platform.node())}", ""), "utf-8")
