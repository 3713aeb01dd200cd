"""What limits could be, by the runs so far: as tight as can still be decided. Pure.

A limit is to lie outside the dead band: at least max(3 %, 2.5 σ) from what each cell it holds
usually reaches (gauge.clearance), and where every run looked at would have kept it for certain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, stdev
from typing import Any

from gauge.clearance import clearance
from gauge.policy import CellFacts, Limit, Policy
from gauge.policy_entry import DIRECTIONS, LimitEntry
from gauge.verdict import SCALES, TIMED_GATES
from reports import formats
from reports.plain import listing, mapping, number
from reports.records import Record, Records

SPECIFIC = ("model", "technique", "family")
"""A limit that names none of these says what a product may cost: no measurement moves it."""


@dataclass(frozen=True)
class Kind:
    """What a gate's number is, and so how its spread and its limits are told.

    step: what limits are rounded to, None for three digits. differences: whether values differ by
    amounts rather than by factors, may be 0 or less, and lie near 0.
    """

    step: float | None = None
    differences: bool = False


KINDS = {
    # How much is lost: 0 as a rule, less than that for a gain.
    ("fraction", "lower"): Kind(step=0.001, differences=True),
    # How much is kept: 1 as a rule.
    ("fraction", "higher"): Kind(step=0.001),
}
"""By unit and which way is better (gauge.verdict.SCALES); all others are amounts and ratios."""


def kind_of(gate: str) -> Kind:
    """The kind of a gate's number."""
    scale = SCALES[gate]
    return KINDS.get((scale.unit, scale.better), Kind())


@dataclass
class Group:
    """One gate of one cell on one machine class: its measurements, the newest first."""

    name: str
    gate: str
    values: list[float] = field(default_factory=list)
    worst: list[float] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)

    def add(self, verdict: Record) -> None:
        """Take a verdict that has a number; worst: the end of its interval that counts."""
        value = verdict["value"]
        side = verdict.get("high" if DIRECTIONS[self.gate] == "max" else "low")
        evidence = mapping(verdict.get("evidence"))
        ends = [value, number(side), number(evidence.get("smallest_drop"))]
        present = [end for end in ends if end is not None and math.isfinite(end)]
        self.values.append(value)
        self.worst.append(max(present) if DIRECTIONS[self.gate] == "max" else min(present))
        self.sigmas.append(number(evidence.get("sigma")) or 0.0)

    @property
    def spread(self) -> float:
        """σ of a value: as the runs state it or as it differs between them, whichever is more.

        Of its logarithm; of the value itself where values differ by amounts: there the interval
        has what a run states of it already.
        """
        if kind_of(self.gate).differences:
            return _deviation(self.values)
        return max(median(self.sigmas), _deviation([math.log(value) for value in self.values]))

    @property
    def bound(self) -> float:
        """The tightest limit that this cell keeps and that can be decided."""
        if kind_of(self.gate).differences:
            return max(self.worst) * clearance(0.0) + 2.5 * self.spread
        factor = clearance(self.spread)
        if DIRECTIONS[self.gate] == "min":
            return min(median(self.values) / factor, min(self.worst))
        return max(median(self.values) * factor, max(self.worst))

    @property
    def text(self) -> str:
        """What it usually reaches."""
        low, high = min(self.values), max(self.values)
        worst = (min if DIRECTIONS[self.gate] == "min" else max)(self.worst)
        runs = formats.count(len(self.values), "run")
        usual = f"usually {median(self.values):.3g} ({low:.3g} to {high:.3g} in {runs}"
        return f"{self.name} {usual}, perhaps {worst:.3g})"


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Proposal:
    """Another number for a limit. line: of its header in policy.toml."""

    line: int
    gate: str
    key: str
    old: float
    new: float
    because: Group
    cells: int

    @property
    def text(self) -> str:
        """One line: from what to what, and which cell decides it."""
        sign = ">=" if self.key == "min" else "<="
        number = formats.count(self.cells, "cell")
        return (
            f"line {self.line}: {self.gate} {sign} {self.old:g} becomes {self.new:g}; "
            f"{self.because.text}, the nearest of {number}"
        )


@dataclass(frozen=True)
class Found:
    """What the runs say. left: lines of limits of which no cell was measured often enough."""

    proposals: list[Proposal]
    left: list[int]


def propose(
    policy: Policy, runs: Sequence[Records], least: int, loosen: Iterable[int] = ()
) -> Found:
    """Limits as tight as the last `least` measurements of every cell allow.

    runs: the newest first. loosen: lines of entries that may become looser; the others only
    tighten. A limit of which no cell has been measured so often is left alone.
    """
    groups = _governed(policy, runs, least)
    proposals, left = [], []
    for entry in policy.limits:
        line = line_of(entry)
        found = groups.get(line, [])
        if entry.limit is None or not found:
            continue
        if not any(key in SPECIFIC for key, _ in entry.match.keys):
            continue
        if max(len(group.values) for group in found) < least:
            left.append(line)
            continue
        one = _proposal(entry, entry.limit, found, loosen=line in set(loosen))
        if one is not None:
            proposals.append(one)
    return Found(proposals, left)


def line_of(entry: LimitEntry) -> int:
    """The line of an entry's header."""
    return int(entry.source.rpartition(":")[2])


def _governed(policy: Policy, runs: Sequence[Records], least: int) -> dict[int, list[Group]]:
    """By entry's line: the cells it holds, each with its last `least` measurements."""
    by_key: dict[tuple[Any, ...], Group] = {}
    lines: dict[int, dict[tuple[Any, ...], Group]] = {}
    for found in runs:
        machine = _machine(found.run)
        for verdict in found.verdicts:
            if not _counts(found.run, verdict):
                continue
            facts = facts_of(verdict)
            flags = capabilities(found.run, facts.target)
            gate, batch = verdict["gate"], verdict.get("batch")
            limit = policy.limit(facts, gate, batch, flags)
            if not isinstance(limit, Limit) or limit.source == "default":
                continue
            key = (machine, facts, gate, batch)
            name = str(facts) if batch is None else f"{facts} b{batch}"
            group = by_key.setdefault(key, Group(name, gate))
            if len(group.values) < least:
                group.add(verdict)
            lines.setdefault(int(limit.source.rpartition(":")[2]), {})[key] = group
    return {line: list(groups.values()) for line, groups in lines.items()}


def _counts(run: Record, verdict: Record) -> bool:
    """Whether a verdict says what the cell usually is: gated, with a number to rely on."""
    gate, value = verdict["gate"], verdict.get("value")
    if gate not in DIRECTIONS or value is None or verdict.get("limit") is None:
        return False
    if value <= 0 and not kind_of(gate).differences:
        return False
    evidence = mapping(verdict.get("evidence"))
    if evidence.get("unreliable") or evidence.get("steady") is False:
        return False
    cold = mapping(evidence.get("cache")).get("mode", "warm") != "warm"
    return not (gate in TIMED_GATES and (cold or run.get("contaminated")))


def facts_of(verdict: Record) -> CellFacts:
    """What the policy may ask about a verdict's cell."""
    cell = verdict["cell"]
    return CellFacts(
        cell["model"],
        cell["technique"],
        verdict.get("family") or "",
        verdict.get("class") or "",
        cell["target"],
    )


def capabilities(run: Record, target: str) -> list[str]:
    """What the machine of a run could do for a target, as limits require it."""
    machine = mapping(run.get("machine"))
    if target.endswith("cpu"):
        return listing(machine.get("flags"))
    version = mapping(machine.get("gpu")).get("capability")
    parts = version if isinstance(version, list) else [version]
    return [f"cuda={'.'.join(map(str, parts))}"] if version else []


def _machine(run: Record) -> tuple[Any, ...]:
    machine = mapping(run.get("machine"))
    gpu = mapping(machine.get("gpu")).get("device")
    flags = tuple(listing(machine.get("flags")))
    return (machine.get("cpu"), flags, machine.get("threads"), gpu)


def _proposal(
    entry: LimitEntry, limit: Limit, groups: Sequence[Group], *, loosen: bool
) -> Proposal | None:
    way = DIRECTIONS[entry.gate]
    nearest = (min if way == "min" else max)(groups, key=lambda group: group.bound)
    new = _rounded(entry.gate, way, nearest.bound)
    tighter = new > limit.bound if way == "min" else new < limit.bound
    if new == limit.bound or not (loosen or (tighter and _matters(entry.gate, limit.bound, new))):
        return None
    if loosen and tighter:
        return None
    return Proposal(line_of(entry), entry.gate, way, limit.bound, new, nearest, len(groups))


def _rounded(gate: str, way: str, bound: float) -> float:
    """To the looser side: shares to a tenth of a point, ratios to three digits."""
    kind = kind_of(gate)
    if kind.differences:
        bound = max(bound, kind.step or 0.0)  # what only gains is held to losing next to nothing
    step = kind.step or 10.0 ** (math.floor(math.log10(bound)) - 2)
    # 1e-9: what is a whole number of steps but for its last bit stays.
    steps = math.floor(bound / step + 1e-9) if way == "min" else math.ceil(bound / step - 1e-9)
    rounded = round(steps * step, 12)
    return min(rounded, 1.0) if kind.step else rounded


def _matters(gate: str, old: float, new: float) -> bool:
    """Whether a tightening is worth a line: what cannot be told apart is not."""
    if (step := kind_of(gate).step) is not None:
        return abs(new - old) >= 2 * step
    return abs(math.log(new / old)) > math.log(clearance(0.0))
