"""Waivers that must go or be renewed: expired, no longer needed, or covering nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports import formats
from reports.plain import mapping
from reports.records import Record


@dataclass(frozen=True)
class Stale:
    """A waiver that waives nothing it should. source: its file and line. text: why, what to do."""

    source: str
    text: str

    @property
    def line(self) -> str:
        return f"{self.source}: {self.text}"


def stale(run: Record, verdicts: Iterable[Record]) -> list[Stale]:
    """The waivers of the run's policy that stand for no known failure any more, in file order.

    No longer needed is one whose every gate passed; where a run, or a shard, asked only a part of
    them, nobody knows.
    """
    held: dict[str, list[Record]] = {}
    for verdict in verdicts:
        named = mapping(mapping(verdict.get("evidence")).get("waiver"))
        if named:
            held.setdefault(named["source"], []).append(named)
    found = []
    for waiver in run.get("waivers") or []:
        why = _why(waiver, held.get(waiver["source"], []))
        if why:
            found.append(Stale(waiver["source"], f"the {waiver['gate']} waiver {why}"))
    return found


def _why(waiver: Record, held: Sequence[Record]) -> str:
    parts = []
    if waiver["expired"]:
        parts.append(f"expired on {waiver['expires']} ({waiver['issue']}, {waiver['owner']})")
    if not waiver["anywhere"]:
        return " and ".join([*parts, "covers no cell that there is: correct it or remove it"])
    if held and len(held) >= waiver["covers"] and all(one.get("unneeded") for one in held):
        passed = formats.count(len(held), "gate that it covers passes", "gates that it covers pass")
        return " and ".join([*parts, f"is no longer needed ({passed}): remove it"])
    return f"{parts[0]}: renew it with a reason, or remove it" if parts else ""


def sentence(found: Sequence[Stale]) -> str:
    """How many there are, and where."""
    lines = ", ".join(one.source for one in found[:4])
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return f"{formats.count(len(found), 'waiver')} to renew or remove ({lines}{more})"
