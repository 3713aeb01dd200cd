"""Reading policy.toml: every mistake in it is an error with file, line, found and expected."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from gauge.capability import FORMS, Requirement, compatible
from gauge.names import base, glob_matches, is_glob, names_match, suggestion
from gauge.policy_entry import DIRECTIONS, KEYS, Limit, LimitEntry, Match, Waiver, keys_of
from gauge.policy_fields import Fields, Known, PolicyError, kind_of, short
from gauge.policy_lines import locate
from gauge.policy_require import Required, names_a_gate
from gauge.verdict import BATCH_GATES, GATES, SCALES, TIMED_GATES

CLASSES = ("A", "B", "C")
SHARES = tuple(gate for gate, scale in SCALES.items() if scale.unit == "fraction")
"""Gates whose limit is a fraction, not a ratio."""
UNITS = ("bytes", "count", "seconds", "joules")
"""Units of gates whose limit is no ratio to FP32."""
_COMMON = ("gate", *KEYS, "reason", "requires", "optional")
_WHY_NONE = {"evidence": "every claim must be found", "reload": "techniques declare theirs"}
FIELDS = {
    "limit": (*_COMMON, "min", "max", "expect", "near"),
    "waiver": (*_COMMON, "issue", "owner", "expires", "floor"),
    "require": ("models", "techniques", "targets", "gates", "reason", "optional"),
}


class Entries(NamedTuple):
    """Everything that a policy's text says, each kind in file order."""

    limits: list[LimitEntry]
    waivers: list[Waiver]
    required: list[Required]


def parse(text: str, file: str, known: Known, shown: str | None = None) -> Entries:
    """The limits, waivers and requirements of a policy's text, in order.

    file names it in errors; shown names it in limits' sources (it goes into records, where a path
    of somebody's home has no place). Raises PolicyError.
    """
    tables = _tables(text, file)
    found = locate(text)
    for name in tables:
        if name not in FIELDS and name != "cost":  # gauge.policy_cost
            line = found.top.get(name) or found.block(name, 0, 1).line
            kinds = ", ".join(f"[[{kind}]]" for kind in FIELDS)
            raise PolicyError(file, line, repr(name), f"one of {kinds}{suggestion(name, FIELDS)}")
    entries = Entries([], [], [])
    for kind, read in _READERS.items():
        rows = tables.get(kind, [])
        # The one entry of its kind may be written as [require].
        single = kind == "require" and isinstance(rows, dict)
        rows = [rows] if single else rows
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            line = found.block(kind, 0, -1).line
            raise PolicyError(file, line, f"{kind!r} as {kind_of(rows)}", f"[[{kind}]] tables")
        for index, row in enumerate(rows):
            block = found.tables.get(kind) if single else None
            block = block or found.block(kind, index, len(rows))
            read(entries, _Reader(kind, row, block, file, shown or file, known))
    return entries


def _tables(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        place = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = int(place[1]) if place and place[1] else text.count("\n") + 1 if place else None
        what = str(error)[: place.start()] if place else str(error)
        raise PolicyError(file, line, f"no valid TOML ({what})", "TOML 1.0") from error


class _Reader(Fields):
    """Checks one entry, key by key."""

    def common(self) -> tuple[str, Match, str, tuple[Requirement, ...]]:
        """What limits and waivers share: gate, match keys, reason, requires."""
        self.only(FIELDS[self.kind])
        self.flag("optional", False)
        gate = self.gate()
        match = self.match(gate)
        return gate, match, self.text("reason"), self.requires()

    def limit(self) -> LimitEntry:
        """The row as a limit."""
        gate, match, reason, requires = self.common()
        near = self.text("near") if "near" in self.row else None
        if near and gate not in TIMED_GATES:
            wanted = " or ".join(f"gate = {one!r}" for one in TIMED_GATES)
            raise self.fail("near", f"near in a {gate} limit", f"near only where {wanted}")
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
            optional=self.flag("optional", False),
        )

    def required(self) -> Required:
        """The row as what a release must have measured."""
        self.only(FIELDS[self.kind])
        for pattern in self.texts("gates"):
            if not names_a_gate(pattern):
                raise self.unknown("gates", pattern, (*GATES, "speed-b1", "memory-b1"))
        return Required(
            source=self.source,
            reason=self.text("reason"),
            models=self.names("models", "model", self.known.models),
            techniques=self.names("techniques", "technique", self.known.techniques),
            targets=self.names("targets", "target", self.known.targets),
            gates=self.texts("gates"),
        )

    def names(self, key: str, kind: str, known: Collection[str] | None) -> tuple[str, ...]:
        """Patterns of known names; any names in an optional entry."""
        patterns = self.texts(key)
        if not self.flag("optional", False):
            for pattern in patterns:
                if known is not None and not _is_known(kind, pattern, known):
                    raise self.unknown(key, pattern, known)
        return patterns

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
        if names is None or (optional and key != "class") or _is_known(key, pattern, names):
            return None
        raise self.unknown(key, pattern, names)

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
                f"batch = {short(value)}",
                "a batch size such as 1, or a glob such as '3?'",
            )

    def requires(self) -> tuple[Requirement, ...]:
        value = self.row.get("requires", [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail("requires", f"requires = {short(value)}", "an array of strings")
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
            raise self.fail(key, f"{key} = {short(value)} ({kind_of(value)})", "a number")
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
                f"{key} = {short(value)}",
                "a fraction from 0 to 1 (1 point is 0.01)" if share else f"{plain} above 0",
            )
        if number == 0 and not share and gate in DIRECTIONS:
            raise self.fail(key, f"{key} = {short(value)}", f"{plain} above 0")
        return number


_READERS: dict[str, Callable[[Entries, _Reader], None]] = {
    "limit": lambda entries, reader: entries.limits.append(reader.limit()),
    "waiver": lambda entries, reader: entries.waivers.append(reader.waiver()),
    "require": lambda entries, reader: entries.required.append(reader.required()),
}


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
