"""Verdicts grouped by cell, and what a cell's verdicts say together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from reports import names
from reports.records import Record, Records, cell_key

MEASURED = ("PASS", "FAIL", "INCONCLUSIVE", "WAIVED", "NO_BASELINE")
"""Statuses that say something was measured (NO_EXPECTATION too, where it has a value)."""

SEVERITY = (
    "NO_EXPECTATION",
    "PASS",
    "WAIVED",
    "REFUSED",
    "NO_BASELINE",
    "INCONCLUSIVE",
    "FAIL",
    "ERROR",
)
"""From best to worst, as the gates order them; no limit here says less than a limit that holds."""

# Where a record does not say whether a cell is lossless: families that only lay out, compile or run
# the same FP32 numbers otherwise.
_LOSSLESS = ("baseline", "layout", "runtime", "compile")
_FP32_TARGET = {"fp16": "cuda", "bf16": "cuda", "fp16_cpu": "cpu", "bf16_cpu": "cpu"}


@dataclass(frozen=True)
class Cell:
    """One model with one technique on one target, with its verdicts in file order."""

    model: str
    technique: str
    target: str
    verdicts: list[Record] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.technique, self.target

    @property
    def name(self) -> str:
        """The cell in words: model, technique and target."""
        return " · ".join(self.key)

    @cached_property
    def anchor(self) -> str:
        """The id of the cell's section on the page."""
        return names.slug(*self.key)

    @cached_property
    def status(self) -> str:
        """The cell's worst verdict."""
        return max((verdict["status"] for verdict in self.verdicts), key=SEVERITY.index)

    @cached_property
    def measured(self) -> bool:
        """Whether at least one gate has a number."""
        return any(is_measured(verdict) for verdict in self.verdicts)

    @property
    def class_(self) -> str | None:
        return self._first("class")

    @property
    def family(self) -> str | None:
        return self._first("family")

    @property
    def command(self) -> str | None:
        """The command that repeats the cell."""
        return self._first("command")

    def _first(self, name: str) -> str | None:
        return next((verdict[name] for verdict in self.verdicts if verdict.get(name)), None)

    def gate(self, name: str) -> Record | None:
        """The verdict of a gate; of the smallest batch where there are several."""
        found = [verdict for verdict in self.verdicts if verdict["gate"] == name]
        return min(found, key=lambda verdict: verdict.get("batch") or 0, default=None)

    def value(self, name: str) -> float | None:
        """The number of a gate (of the smallest batch), or None."""
        verdict = self.gate(name)
        return None if verdict is None else verdict.get("value")

    def holds(self, *gates: str, also: str = "") -> bool:
        """Whether each of the gates is there and passed (or has the status `also`)."""
        verdicts = [self.gate(name) for name in gates]
        return all(verdict and verdict["status"] in ("PASS", also) for verdict in verdicts)

    @cached_property
    def keeps_accuracy(self) -> bool:
        """Whether the artifact is what it claims to be and gives the answers the limit asks for."""
        return self.holds("evidence", "reload", "accuracy")

    @cached_property
    def lossless(self) -> bool:
        """Whether the cell computes in FP32 with nothing left out or rounded."""
        evidence = (self.gate("evidence") or {}).get("evidence") or {}
        if evidence.get("lossless") is not None:
            return bool(evidence["lossless"])
        alone = "+" not in self.technique and self.target not in _FP32_TARGET
        return alone and self.class_ in ("A", None) and self.family in _LOSSLESS

    @property
    def fp32_target(self) -> str:
        """The FP32 target on the same device."""
        return _FP32_TARGET.get(self.target, self.target)

    @property
    def reason(self) -> str:
        """The reason of the worst gate that gives one."""
        given = [verdict for verdict in self.verdicts if verdict.get("reason")]
        worst = max(given, key=lambda v: SEVERITY.index(v["status"]), default=None)
        return worst["reason"] if worst else ""


def is_measured(verdict: Record) -> bool:
    """Whether the gate was really answered: it has a number, or failed by having none."""
    if verdict["status"] == "NO_EXPECTATION":
        return verdict.get("value") is not None
    return verdict["status"] in MEASURED


def group(records: Records) -> list[Cell]:
    """The cells of a run, in the order in which they first occur."""
    cells: dict[tuple[str, str, str], Cell] = {}
    for verdict in records.verdicts:
        key = cell_key(verdict["cell"])
        cells.setdefault(key, Cell(*key)).verdicts.append(verdict)
    return list(cells.values())


def in_order(values: Iterable[str | None]) -> list[str]:
    """The distinct values, in the order in which they first occur."""
    return [value for value in dict.fromkeys(values) if value is not None]
