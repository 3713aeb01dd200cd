"""The parts of a policy: which cells an entry covers, how specific it is, limits and waivers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gauge.capability import Requirement, compatible
from gauge.names import glob_matches, is_glob, names_match
from gauge.verdict import SCALES

KEYS = ("model", "technique", "family", "class", "target", "batch")
"""What an entry may say about the cells it covers, besides its gate."""

# Which way each limit points. evidence and reload are not here: every claim must be found, and
# the reload tolerance is the technique's to declare; answers under load keep the accuracy limit.
DIRECTIONS = {
    "accuracy": "max",
    "fidelity": "min",
    "size": "max",
    "speed": "min",
    "memory": "max",
    "training_steps": "min",
    "training_accuracy": "max",
    "training_memory": "max",
    "training_speed": "min",
    "edge_artifact": "max",
    "edge_installed": "max",
    "edge_memory": "max",
    "edge_parameters": "max",
    "edge_macs": "max",
    "edge_traffic": "max",
    "edge_roofline": "min",
    "edge_cold_start": "max",
    "edge_energy": "max",
    "realtime_latency": "max",
    "realtime_rate": "min",
    "cloud_offline": "min",
    "cloud_server": "min",
    "cloud_cost": "max",
    "cloud_fleet": "max",
    "cloud_misses": "max",
    "regression": "min",
}

Rank = tuple[int, int, int]


@dataclass(frozen=True)
class CellFacts:
    """What a policy may ask about a cell; `cls` is its class, "A", "B" or "C"."""

    model: str
    technique: str
    family: str
    cls: str
    target: str

    def __str__(self) -> str:
        return f"{self.model}-{self.technique}-{self.target}"


@dataclass(frozen=True)
class Match:
    """The keys an entry names, as (key, pattern), in the order of KEYS."""

    keys: tuple[tuple[str, str], ...] = ()

    def covers(self, facts: CellFacts, batch: int | None) -> bool:
        """Whether every key matches; a batch pattern never matches a gate without batch size."""
        return all(_key_matches(key, pattern, facts, batch) for key, pattern in self.keys)

    @property
    def rank(self) -> Rank:
        """How specific it is, larger is more: exact keys, then globs, then exact parameters.

        `*` counts as the glob that it is. The last number lets `prune:0.5` win over `prune`, which
        covers it and is as exact a key.
        """
        exact = [(key, pattern) for key, pattern in self.keys if not is_glob(pattern)]
        parameters = sum(pattern.count(":") for _, pattern in exact)
        return len(exact), len(self.keys) - len(exact), parameters


def _key_matches(key: str, pattern: str, facts: CellFacts, batch: int | None) -> bool:
    if key in ("model", "technique"):
        return names_match(pattern, getattr(facts, key))
    if key == "batch":
        return batch is not None and glob_matches(pattern, str(batch))
    return glob_matches(pattern, facts.cls if key == "class" else getattr(facts, key))


@dataclass(frozen=True)
class Limit:
    """What a gate is held to: exactly one of min and max is set. source: "policy.toml:18".

    near: why this speed limit may sit closer to the usual value than can be decided.
    keys: the keys its entry names; none for a default.
    """

    gate: str
    min: float | None = None
    max: float | None = None
    reason: str | None = None
    source: str = "default"
    near: str | None = None
    keys: tuple[str, ...] = ()

    @property
    def bound(self) -> float:
        """The number, whichever way it points."""
        bound = self.max if self.min is None else self.min
        assert bound is not None
        return bound

    def holds(self, value: float) -> bool:
        """Whether a value keeps the limit; NaN keeps none."""
        return value >= self.bound if self.min is not None else value <= self.bound

    def as_dict(self) -> dict[str, Any]:
        """The limit as a record holds it."""
        return {"min": self.min, "max": self.max, "source": self.source, "reason": self.reason}


@dataclass(frozen=True)
class NoExpectation:
    """There is no limit for a cell's gate here; reason: a sentence shown as it is."""

    reason: str
    source: str = "default"


@dataclass(frozen=True)
class Entry:
    """What a [[limit]] and a [[waiver]] share. source: file and line of its header."""

    gate: str
    match: Match
    source: str
    reason: str
    requires: tuple[Requirement, ...] = ()

    def rivals(self, other: Entry) -> bool:
        """Whether neither is more specific and some machine meets what both require."""
        return self.match.rank == other.match.rank and compatible(self.requires + other.requires)


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class LimitEntry(Entry):
    """A [[limit]]; limit is None for `expect = false`."""

    limit: Limit | None = None


@dataclass(frozen=True)
class Waiver(Entry):
    """A [[waiver]]: a failure that is known, until a date, down to a floor.

    expires: the last day it holds. floor: the worst value that a waived gate may still have.
    optional: it is for what a plug-in brings, which may not be there.
    """

    issue: str = ""
    owner: str = ""
    expires: datetime.date = datetime.date.min
    floor: float | None = None
    optional: bool = False

    def keeps_floor(self, value: float | None) -> bool:
        """Whether a value is no worse than the floor; NaN or no value keeps no floor."""
        if self.floor is None:
            return True
        if value is None:
            return False
        lower = SCALES[self.gate].better == "lower"
        return value <= self.floor if lower else value >= self.floor


def keys_of(table: Mapping[str, Any]) -> Match:
    """The match keys of a checked table; a batch may be a number there."""
    return Match(tuple((key, str(table[key])) for key in KEYS if key in table))


def most_specific(entries: Sequence[E]) -> list[E]:
    """The entries of the highest rank, in file order; none for none."""
    best = max((entry.match.rank for entry in entries), default=None)
    return [entry for entry in entries if entry.match.rank == best]
