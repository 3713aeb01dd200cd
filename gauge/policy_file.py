"""Reading policy.toml: every mistake in it is an error with file, line, found and expected."""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from gauge.capability import FORMS, Requirement, compatible
from gauge.names import base, glob_matches, is_glob, names_match, suggestion
from gauge.policy_entry import DIRECTIONS, KEYS, Limit, LimitEntry, Match, Waiver, keys_of
from gauge.policy_lines import Block, locate
from gauge.verdict import BATCH_GATES, GATES, SCALES

CLASSES = ("A", "B", "C")
SHARES = ("accuracy", "fidelity", "cloud_misses")
"""Gates whose limit is a fraction, not a ratio."""
UNITS = ("bytes", "count", "seconds", "joules")
"""Units of gates whose limit is no ratio to FP32."""
_COMMON = ("gate", *KEYS, "reason", "requires", "optional")
_WHY_NONE = {"evidence": "every claim must be found", "reload": "techniques declare theirs"}
FIELDS = {
    "limit": (*_COMMON, "min", "max", "expect", "near"),
    "waiver": (*_COMMON, "issue", "owner", "expires", "floor"),
}


class PolicyError(ValueError):
    """A mistake in a policy: where it is, what was found, what is expected."""

    def __init__(self, file: str, line: int | None, found: str, expected: str):
        self.file, self.line, self.found, self.expected = file, line, found, expected
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: found {found}; expected {expected}")


@dataclass(frozen=True)
class Known:
    """The names a policy may use. models, techniques: with or without parameters.

    capabilities: None where any capability may be required.
    """

    models: Collection[str] = ()
    techniques: Collection[str] = ()
    families: Collection[str] = ()
    targets: Collection[str] = ()
    gates: Collection[str] = GATES
    capabilities: Collection[str] | None = None


def parse(
    text: str, file: str, known: Known, shown: str | None = None
) -> tuple[list[LimitEntry], list[Waiver]]:
    """The limits and waivers of a policy's text, in order.

    file names it in errors; shown names it in limits' sources (it goes into records, where a path
    of somebody's home has no place). Raises PolicyError.
    """
    tables = _tables(text, file)
    found = locate(text)
    for name in tables:
        if name not in FIELDS and name != "cost":  # gauge.policy_cost
            line = found.top.get(name) or found.block(name, 0, 1).line
            raise PolicyError(
                file, line, repr(name), "[[limit]] or [[waiver]]" + suggestion(name, FIELDS)
            )
    limits, waivers = [], []
    for kind in FIELDS:
        rows = tables.get(kind, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            line = found.block(kind, 0, -1).line
            raise PolicyError(file, line, f"{kind!r} as {_kind(rows)}", f"[[{kind}]] tables")
        for index, row in enumerate(rows):
            reader = _Reader(
                kind, row, found.block(kind, index, len(rows)), file, shown or file, known
            )
            if kind == "limit":
                limits.append(reader.limit())
            else:
                waivers.append(reader.waiver())
    return limits, waivers


def _tables(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        place = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = int(place[1]) if place and place[1] else text.count("\n") + 1 if place else None
        what = str(error)[: place.start()] if place else str(error)
        raise PolicyError(file, line, f"no valid TOML ({what})", "TOML 1.0") from error


def _kind(value: Any) -> str:
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


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, (datetime.date, datetime.time)) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Reader:
    """Checks one entry, key by key."""

    def __init__(
        self, kind: str, row: dict[str, Any], block: Block, file: str, shown: str, known: Known
    ):
        self.kind, self.row, self.block, self.file, self.known = kind, row, block, file, known
        self.source = f"{shown}:{block.line}"

    def fail(self, key: str | None, found: str, expected: str) -> PolicyError:
        """The error, at the key's own line where it has one."""
        line = self.block.keys.get(key, self.block.line) if key else self.block.line
        return PolicyError(self.file, line, found, expected)

    def common(self) -> tuple[str, Match, str, tuple[Requirement, ...]]:
        """What limits and waivers share: gate, match keys, reason, requires."""
        for key in self.row:
            if key not in FIELDS[self.kind]:
                fields = FIELDS[self.kind]
                raise self.fail(
                    key,
                    f"unknown key {key!r} in [[{self.kind}]]",
                    "one of " + ", ".join(fields) + suggestion(key, fields),
                )
        self.flag("optional", False)
        gate = self.gate()
        match = self.match(gate)
        return gate, match, self.text("reason"), self.requires()

    def limit(self) -> LimitEntry:
        """The row as a limit."""
        gate, match, reason, requires = self.common()
        near = self.text("near") if "near" in self.row else None
        if near and gate != "speed":
            raise self.fail("near", f"near in a {gate} limit", "near only where gate = 'speed'")
        limit = None
        if self.expects(gate):
            way = DIRECTIONS[gate]
            limit = Limit(
                gate=gate,
                reason=reason,
                source=self.source,
                near=near,
                keys=tuple(key for key, _ in match.keys),
                **{way: self.bound(way, gate)},
            )
        return LimitEntry(gate, match, self.source, reason, requires, limit)

    def waiver(self) -> Waiver:
        """The row as a waiver."""
        gate, match, reason, requires = self.common()
        floor = self.bound("floor", gate) if gate in DIRECTIONS or "floor" in self.row else None
        return Waiver(
            gate=gate,
            match=match,
            source=self.source,
            reason=reason,
            requires=requires,
            issue=self.text("issue", numbers=True),
            owner=self.text("owner"),
            expires=self.date("expires"),
            floor=floor,
        )

    def gate(self) -> str:
        gate = self.text("gate")
        if gate not in self.known.gates:
            raise self.unknown("gate", gate, self.known.gates)
        if self.kind == "limit" and gate not in DIRECTIONS:
            why = _WHY_NONE.get(gate, "it is held to the accuracy limit")
            raise self.fail(
                "gate", f"a limit for {gate!r}", f"one of {', '.join(DIRECTIONS)} ({why})"
            )
        return gate

    def match(self, gate: str) -> Match:
        for key in KEYS:
            if key in self.row:
                self.check_key(key, gate)
        match = keys_of(self.row)
        if self.kind == "limit" and gate == "fidelity" and ("class", "C") in match.keys:
            raise self.fail(
                "class",
                "a fidelity limit for class 'C'",
                "class 'A' or 'B': another architecture is not held to FP32's answers",
            )
        return match

    def check_key(self, key: str, gate: str) -> None:
        if key == "batch":
            return self.check_batch(gate)
        pattern = self.text(key)
        optional = self.flag("optional", False)
        names = {
            "model": self.known.models,
            "technique": self.known.techniques,
            "family": self.known.families,
            "class": CLASSES,
            "target": self.known.targets,
        }[key]
        # A plug-in may bring models, techniques, families and targets, but no class.
        if (optional and key != "class") or _is_known(key, pattern, names):
            return None
        raise self.unknown(key, pattern, names)

    def unknown(self, key: str, value: str, names: Iterable[str]) -> PolicyError:
        listed = ", ".join(sorted(names)) or "none is known"
        hint = suggestion(value, names)
        optional = "" if key in ("gate", "class") else " (for a plug-in's name: optional = true)"
        what = "that matches no name" if is_glob(value) else "unknown"
        return self.fail(key, f"{key} {value!r}, {what}", f"one of {listed}{hint}{optional}")

    def check_batch(self, gate: str) -> None:
        value = self.row["batch"]
        if gate not in BATCH_GATES:
            raise self.fail(
                "batch",
                f"batch in a {gate} {self.kind}",
                f"batch only for {' and '.join(BATCH_GATES)}",
            )
        sized = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not sized and not (isinstance(value, str) and re.fullmatch(r"[1-9*?][0-9*?]*", value)):
            raise self.fail(
                "batch",
                f"batch = {_short(value)}",
                "a batch size such as 1, or a glob such as '3?'",
            )

    def requires(self) -> tuple[Requirement, ...]:
        value = self.row.get("requires", [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail("requires", f"requires = {_short(value)}", "an array of strings")
        try:
            requires = tuple(Requirement.parse(item) for item in value)
        except ValueError as error:
            raise self.fail("requires", str(error), f"each of the form {FORMS}") from error
        names = self.known.capabilities
        for requirement in requires:
            if names is not None and requirement.name not in names:
                hint = suggestion(requirement.name, names)
                raise self.fail(
                    "requires",
                    f"unknown capability {requirement.name!r}",
                    f"one of {', '.join(sorted(names))}{hint}",
                )
        if not compatible(requires):
            raise self.fail(
                "requires", f"requires = {value}", "capabilities that one machine can have"
            )
        return requires

    def expects(self, gate: str) -> bool:
        """Whether the limit has a number (checked for direction), rather than `expect = false`."""
        given = [key for key in ("min", "max") if key in self.row]
        way = DIRECTIONS[gate]
        if not self.flag("expect", True):
            if given:
                raise self.fail(given[0], f"{given[0]} beside expect = false", "one of the two")
            return False
        if given == [way]:
            return True
        if not given:
            raise self.fail(None, f"a {gate} limit without {way}", f"{way} (or expect = false)")
        if len(given) == 2:
            raise self.fail("min", "both min and max", f"only {way} for {gate}")
        better = "lower" if way == "max" else "higher"
        raise self.fail(given[0], f"{given[0]} for {gate}", f"{way}: {better} is better there")

    def bound(self, key: str, gate: str) -> float:
        """A finite number in the range that makes sense for the gate."""
        if key not in self.row:
            raise self.fail(None, f"a {self.kind} without {key}", f"{key}, a number")
        value = self.row[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.fail(key, f"{key} = {_short(value)} ({_kind(value)})", "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        share = gate in SHARES
        unit = SCALES[gate].unit if gate in SCALES else "ratio"
        plain = "a finite number" if unit in UNITS else "a finite ratio"
        if not math.isfinite(number) or number < 0 or (share and number > 1):
            raise self.fail(
                key,
                f"{key} = {_short(value)}",
                "a fraction from 0 to 1 (1 point is 0.01)" if share else f"{plain} above 0",
            )
        if number == 0 and not share and gate in DIRECTIONS:
            raise self.fail(key, f"{key} = {_short(value)}", f"{plain} above 0")
        return number

    def text(self, key: str, numbers: bool = False) -> str:
        """A string that says something, as one line."""
        if key not in self.row:
            raise self.fail(None, f"a {self.kind} without {key}", f"{key}, a string")
        value = self.row[key]
        if numbers and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(key, f"{key} = {_short(value)}", "a string that is not empty")
        return " ".join(value.split())

    def flag(self, key: str, default: bool) -> bool:
        value = self.row.get(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, f"{key} = {_short(value)}", "true or false")
        return value

    def date(self, key: str) -> datetime.date:
        if key not in self.row:
            raise self.fail(None, f"a {self.kind} without {key}", f"{key}, a date")
        value = self.row[key]
        if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            raise self.fail(key, f"{key} = {_short(value)}", "a date, without quotes: 2027-01-31")
        return value


def _is_known(key: str, pattern: str, names: Collection[str]) -> bool:
    if key not in ("model", "technique"):
        return any(glob_matches(pattern, name) for name in names)
    if key == "model":
        return any(names_match(pattern, name) for name in names)
    # A technique takes any parameters and may stand in any pipeline, declared or not.
    bases = {stage for name in names for stage in base(name).split("+")}
    bare = base(pattern)
    if all(any(glob_matches(stage, name) for name in bases) for stage in bare.split("+")):
        return True
    pairs = (f"{first}+{second}" for first in bases for second in bases)
    return is_glob(bare) and any(glob_matches(bare, pair) for pair in pairs)


def duplicate(entries: Iterable[LimitEntry] | Iterable[Waiver]) -> tuple[Any, Any] | None:
    """Two entries that say exactly the same of their cells and may both apply, or None."""
    seen: dict[Any, list[Any]] = {}
    for entry in entries:
        twins = seen.setdefault((entry.gate, entry.match), [])
        for twin in twins:
            if entry.rivals(twin):
                return twin, entry
        twins.append(entry)
    return None
