"""The policy: every limit, waiver and requirement, and which of them a cell is held to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gauge import policy_cost
from gauge.capability import missing
from gauge.names import names_match
from gauge.policy_entry import (
    DIRECTIONS,
    CellFacts,
    E,
    Entry,
    Limit,
    LimitEntry,
    NoExpectation,
    Waiver,
    most_specific,
)
from gauge.policy_fields import Known, PolicyError
from gauge.policy_file import duplicate, parse
from gauge.policy_require import Required
from gauge.verdict import BATCH_GATES, GATES

__all__ = [
    "DEFAULTS",
    "CellFacts",
    "Known",
    "Limit",
    "NoExpectation",
    "Policy",
    "PolicyError",
    "Required",
    "Waiver",
]


DEFAULTS = {
    "accuracy": Limit("accuracy", max=0.01),
    "speed": Limit("speed", min=1.0),
    "size": Limit("size", max=1.05),
    "memory": Limit("memory", max=1.10),
    "training_steps": Limit("training_steps", min=0.98),
    "training_accuracy": Limit("training_accuracy", max=0.01),
    "training_memory": Limit("training_memory", max=1.10),
    "training_speed": Limit("training_speed", min=1.0),
    "realtime_latency": Limit("realtime_latency", max=1.0),
    "realtime_rate": Limit("realtime_rate", min=1.0),
    "cloud_offline": Limit("cloud_offline", min=1.0),
    "cloud_server": Limit("cloud_server", min=1.0),
    "cloud_cost": Limit("cloud_cost", max=1.0),
    "cloud_fleet": Limit("cloud_fleet", max=1.0),
    "cloud_misses": Limit("cloud_misses", max=0.01),
    # What a speed limit leaves to noise: nearer ones cannot be decided.
    "regression": Limit("regression", min=0.97),
}
"""What a cell is held to when the file says nothing; fidelity has no default."""


class Policy:
    """Limits, waivers and requirements in file order; read one with `Policy.read`.

    The most specific entry that covers a cell wins: first by the number of exact keys, then of
    globs (`"*"` is one), and between `prune` and `prune:0.5` the one with parameters.
    """

    def __init__(
        self,
        file: str,
        limits: Sequence[LimitEntry],
        waivers: Sequence[Waiver],
        required: Sequence[Required] = (),
    ):
        self.file = file
        self.limits, self.waivers, self.required = tuple(limits), tuple(waivers), tuple(required)
        self.price = policy_cost.Price()
        self._limits: dict[str, list[LimitEntry]] = {gate: [] for gate in GATES}
        self._waivers: dict[str, list[Waiver]] = {gate: [] for gate in GATES}
        for limit in self.limits:
            self._limits[limit.gate].append(limit)
        for waiver in self.waivers:
            self._waivers[waiver.gate].append(waiver)
        for twins in (duplicate(self.limits), duplicate(self.waivers)):
            if twins:
                raise self._tie(twins[0], twins[1], "the same cells")

    @classmethod
    def read(cls, path: str | Path, known: Known) -> Policy:
        """Read and check a policy file; PolicyError says what is wrong and where."""
        path = Path(path)
        text, shown = read_text(path), shown_name(path)
        policy = cls(str(path), *parse(text, str(path), known, shown))
        policy.price = policy_cost.read(text, str(path), shown)
        return policy

    def limit(
        self,
        facts: CellFacts,
        gate: str,
        batch: int | None = None,
        capabilities: Iterable[str] = (),
    ) -> Limit | NoExpectation:
        """What a cell's gate is held to on a machine with these capabilities.

        A most specific limit whose requirement the machine does not meet means no expectation: a
        broader limit was not written for this cell. PolicyError for a tie (see `check`).
        """
        if gate not in DIRECTIONS:
            raise ValueError(f"gate {gate!r} is not judged by a limit")
        if gate == "fidelity" and facts.cls == "C":
            return NoExpectation("another architecture is not held to FP32's answers")
        entries = self._covering(self._limits[gate], facts, gate, batch)
        if not entries:
            default = DEFAULTS.get(gate)
            return default or NoExpectation(f"the policy has no {gate} limit for this cell")
        present = list(capabilities)
        met = [entry for entry in entries if not missing(entry.requires, present)]
        self._check_one(met, str(facts))
        if not met:
            return _unmet(entries, present)
        entry = met[0]
        return entry.limit or NoExpectation(entry.reason, entry.source)

    def general(self, gate: str, model: str) -> float | None:
        """The bound where no entry names more of a cell than its model; None where there is none.

        What a model's evaluation samples can decide is a matter of the model, whatever is done to
        it.
        """
        entries = [
            entry
            for entry in self._limits[gate]
            if entry.limit is not None
            and all(key == "model" and names_match(name, model) for key, name in entry.match.keys)
        ]
        if entries:
            entry = max(entries, key=lambda one: one.match.rank)
            return entry.limit.bound if entry.limit else None
        default = DEFAULTS.get(gate)
        return default.bound if default else None

    def waiver(
        self,
        facts: CellFacts,
        gate: str,
        batch: int | None = None,
        capabilities: Iterable[str] = (),
    ) -> Waiver | None:
        """The waiver for a cell's gate on this machine, expired or not, or None."""
        present = list(capabilities)
        entries = [
            entry
            for entry in self._covering(self._waivers[gate], facts, gate, batch)
            if not missing(entry.requires, present)
        ]
        self._check_one(entries, str(facts))
        return entries[0] if entries else None

    def check(self, cells: Iterable[CellFacts], batches: Iterable[int] = (1, 32)) -> None:
        """Raise PolicyError when two equally specific entries cover one of these cells.

        Two whose requirements no machine can meet together (`avx2`, `!avx2`) are no tie.
        """
        cells, batches = list(cells), list(batches)
        for gate in GATES:
            for entries in (self._limits[gate], self._waivers[gate]):
                if len(entries) < 2:
                    continue
                for facts in cells:
                    for batch in batches if gate in BATCH_GATES else [None]:
                        covering = self._covering(entries, facts, gate, batch)
                        self._check_one(covering, str(facts))

    def covered(
        self, waiver: Waiver, cells: Iterable[CellFacts], batches: Iterable[int] = (1, 32)
    ) -> int:
        """How many gates of these cells a waiver covers, each batch size counted."""
        sizes = list(batches) if waiver.gate in BATCH_GATES else [None]
        return sum(waiver.match.covers(facts, size) for facts in cells for size in sizes)

    def _covering(
        self, entries: Sequence[E], facts: CellFacts, gate: str, batch: int | None
    ) -> list[E]:
        size = batch if gate in BATCH_GATES else None
        return most_specific([entry for entry in entries if entry.match.covers(facts, size)])

    def _check_one(self, entries: Sequence[Entry], what: str) -> None:
        for index, entry in enumerate(entries):
            for other in entries[:index]:
                if entry.rivals(other):
                    raise self._tie(other, entry, what)

    def _tie(self, first: Entry, second: Entry, what: str) -> PolicyError:
        kind = "waivers" if isinstance(first, Waiver) else "limits"
        return PolicyError(
            self.file,
            int(second.source.rpartition(":")[2]),
            f"two equally specific {second.gate} {kind} for {what}: this one and "
            f"line {first.source.rpartition(':')[2]}",
            "one of them to name more keys, or to be removed",
        )


def _unmet(entries: Sequence[LimitEntry], present: Sequence[str]) -> NoExpectation:
    lacks = sorted({text for entry in entries for text in missing(entry.requires, present)})
    return NoExpectation(
        f"the limit needs {' and '.join(lacks)}, which this machine does not have"
        if not any(text.startswith("!") for text in lacks)
        else f"the limit is for machines with {' and '.join(lacks)}",
        entries[0].source,
    )


def read_text(path: Path) -> str:
    """A policy file's text, line ends as they are; PolicyError when it cannot be had."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PolicyError(str(path), line, "bytes that are not UTF-8", "TOML 1.0") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PolicyError(str(path), None, f"no policy ({why})", "a TOML file") from error


def shown_name(path: Path) -> str:
    """A path for records: relative to the working directory, or its last part only."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return path.name
