"""What a gate answers: the statuses, their order, and the verdict that becomes a record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Status(StrEnum):
    """The eight answers a gate can give."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    WAIVED = "WAIVED"
    NO_EXPECTATION = "NO_EXPECTATION"
    NO_BASELINE = "NO_BASELINE"
    REFUSED = "REFUSED"
    ERROR = "ERROR"


# NO_EXPECTATION stands below PASS: a cell that passes every gate it has a limit for has passed,
# and only a cell without any limit is NO_EXPECTATION as a whole.
_BEST_FIRST = (
    Status.NO_EXPECTATION,
    Status.PASS,
    Status.WAIVED,
    Status.REFUSED,
    Status.NO_BASELINE,
    Status.INCONCLUSIVE,
    Status.FAIL,
    Status.ERROR,
)


def severity(status: Status | str) -> int:
    """A status's place from best (0) to worst, for sorting."""
    return _BEST_FIRST.index(Status(status))


def worst(statuses: Iterable[Status | str]) -> Status:
    """The worst of some statuses; ValueError for none, because nothing measured is no success."""
    found = [Status(status) for status in statuses]
    if not found:
        raise ValueError("no status to choose the worst of: nothing was judged")
    return max(found, key=severity)


class Scale(NamedTuple):
    """How to read a gate's value."""

    unit: str
    better: str


SCALES: dict[str, Scale] = {
    "evidence": Scale("claims", "higher"),
    "reload": Scale("share", "lower"),
    "accuracy": Scale("fraction", "lower"),
    "fidelity": Scale("fraction", "higher"),
    "size": Scale("ratio", "lower"),
    "speed": Scale("ratio", "higher"),
    "memory": Scale("ratio", "lower"),
    "training_steps": Scale("fraction", "higher"),
    "training_accuracy": Scale("fraction", "lower"),
    "training_memory": Scale("ratio", "lower"),
    "training_speed": Scale("ratio", "higher"),
    "edge_artifact": Scale("bytes", "lower"),
    "edge_installed": Scale("bytes", "lower"),
    "edge_memory": Scale("bytes", "lower"),
    "edge_parameters": Scale("count", "lower"),
    "edge_macs": Scale("count", "lower"),
    "edge_traffic": Scale("bytes", "lower"),
    "edge_roofline": Scale("share", "higher"),
    "edge_cold_start": Scale("seconds", "lower"),
    "edge_energy": Scale("joules", "lower"),
    "realtime_answers": Scale("fraction", "lower"),
    "realtime_latency": Scale("ratio", "lower"),
    "realtime_rate": Scale("ratio", "higher"),
    "cloud_answers": Scale("fraction", "lower"),
    "cloud_offline": Scale("ratio", "higher"),
    "cloud_server": Scale("ratio", "higher"),
    "cloud_cost": Scale("ratio", "lower"),
    "cloud_fleet": Scale("ratio", "lower"),
    "cloud_misses": Scale("fraction", "lower"),
    "regression": Scale("ratio", "higher"),
}

GATES = tuple(SCALES)
"""The questions asked of a cell, in the order they are asked; the last with `--history` only."""

TRAINING_GATES = tuple(gate for gate in GATES if gate.startswith("training_"))
"""Those asked of a technique that trains, and no others are."""

TIMED_GATES = ("speed", "training_speed")
"""The gates that are decided by times, which all cells take in turns."""

DEPLOYMENTS = ("edge", "realtime", "cloud")
"""The suites that put artifacts under a load: suites/test_edge.py asks the gates `edge_…`."""

BATCH_GATES = ("speed", "memory")
"""The gates that are asked once per batch size."""


def deployment_of(gate: str) -> str | None:
    """The deployment suite that asks a gate, or None."""
    suite = gate.partition("_")[0]
    return suite if suite in DEPLOYMENTS else None


ALWAYS_GATES = tuple(
    gate
    for gate in GATES
    if gate not in (*TRAINING_GATES, "regression") and deployment_of(gate) is None
)
"""Those that every run asks of every cell that it optimises."""


@dataclass(frozen=True)
class Verdict:
    """One gate's answer about one cell.

    value, low, high: the measured number and its interval, in `unit`; `better` is "higher" or
    "lower". limit: min or max, source and reason. baseline, candidate, evidence: what was
    measured. reason: one line, present whenever the status is not PASS.
    """

    gate: str
    status: Status
    batch: int | None = None
    value: float | None = None
    unit: str | None = None
    better: str | None = None
    low: float | None = None
    high: float | None = None
    limit: Mapping[str, Any] | None = None
    baseline: Mapping[str, Any] = field(default_factory=dict)
    candidate: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    def record(self) -> dict[str, Any]:
        """Plain data for strict JSON: a number that is not finite is null, and the reason says so.

        numpy scalars and arrays become numbers and lists, tuples become lists, keys strings.
        """
        lost: list[str] = []
        plain = {
            name: _plain(getattr(self, name), name, lost)
            for name in self.__dataclass_fields__
            if name != "reason"
        }
        parts = [part for part in (self.reason, _loss(lost)) if part]
        return {**plain, "reason": "; ".join(parts) or None}


def _loss(lost: list[str]) -> str | None:
    if not lost:
        return None
    shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
    return f"not finite, so null: {shown}"


def _plain(value: Any, path: str, lost: list[str]) -> Any:
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, without importing numpy
        value = value.tolist()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        lost.append(f"{path} ({value})")
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}", lost) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{index}]", lost) for index, item in enumerate(value)]
    raise TypeError(f"{path} holds a {type(value).__name__}, which a record cannot")
