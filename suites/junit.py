"""What pytest's JUnit file holds beside outcomes: each gate's figures, and nobody's names."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suites.privacy import scrub

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


def without_names(path: Path, places: Mapping[Path, str]) -> None:
    """Rewrite a JUnit file without the names of this machine and its user, folders and secrets.

    pytest writes the machine's name into it, and a reason may hold a path. places: as for `scrub`.
    """
    tree = ET.parse(path)
    for one in tree.iter():
        one.attrib.pop("hostname", None)
        one.attrib.update(scrub(dict(one.attrib), places))
        one.text, one.tail = scrub(one.text, places), scrub(one.tail, places)
    tree.write(path, encoding="utf-8", xml_declaration=True)
