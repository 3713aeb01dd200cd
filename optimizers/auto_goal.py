"""What an automatic search is to find: which trials are good enough, and which of two is better."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Stages = tuple[tuple[str, dict[str, Any]], ...]
"""Technique and parameters of each stage."""

Record = dict[str, Any]
"""A trial as plain data.

stages, pipeline (its name), class, status, reason, seconds; then, as far as it got: trains (it, or
what it goes on from), augmented (its last training changed the inputs); score, drop,
drop_error (one standard error), gate_error (that of the accuracy gate's samples, 0 where their
number is not known), drop_high (what must be within the drop), alike, bytes; latency_ms,
sample_ms, joules, each with `…_error` (half width of the 95 % interval, as a share); speed (FP32's
latency over its own), where latency is measured; batch, where throughput is asked for, the size
that gave most of it; threads, and `made` (the stages with them), where fewer than the run's cost
less; vain, where it was skipped since it would be no faster; likely, where a last stage was tried
on it before its training: {"last": that stage, and what they cost together}; first, where more
samples have judged it, or what it goes on from: drop and drop_error before that.
"""

PASSES, DROPS, OVER, SKIPPED = "passes", "drops", "over budget", "skipped"
REFUSED, BROKEN, UNLIKE, UNFOUND = "refused", "broken", "unlike", "claims not found"
"""How a trial ended; `broken` is an exception, `unlike` another answer where FP32's is wanted."""

KEEPING = (PASSES, OVER)
"""How those ended that keep the accuracy and their claims."""

CLEARLY = 0.95
"""Of two that may have been turned down wrongly, the one that lost more must cost so much less."""

COSTS = {
    "latency": "latency_ms",
    "throughput": "sample_ms",
    "energy": "joules",
    "size": "bytes",
}
"""The field that a goal makes as small as it can be."""


def stages_of(record: Mapping[str, Any]) -> Any:
    """The stages of a trial with the threads that were found for it."""
    return record.get("made", record["stages"])


def key(stages: Sequence[Any]) -> str:
    """Names a pipeline in the store, whatever its parameters' types."""
    return json.dumps([[name, params] for name, params in stages], sort_keys=True)


@dataclass(frozen=True)
class Goal:
    """max_drop: a fraction of the score. field: see COSTS. latency_ms, size_mb: budgets or None.

    speed: times as fast as FP32, at least; None where it does not matter.
    """

    max_drop: float
    optimise_for: str
    latency_ms: float | None = None
    size_mb: float | None = None
    speed: float | None = None

    @property
    def field(self) -> str:
        return COSTS[self.optimise_for]

    @property
    def measured(self) -> tuple[str, ...]:
        """What must be measured on the target, beside the bytes that are counted."""
        timed = self.latency_ms is not None or self.speed is not None
        budgets = ("latency_ms",) if timed else ()
        wanted = (self.field,) if self.field != "bytes" else ()
        return tuple(dict.fromkeys((*wanted, *budgets)))

    def misses(self, record: Mapping[str, Any]) -> dict[str, float]:
        """What a trial does not keep: points over the drop as a fraction, budgets as a share, speed
        as a share of the time that it may take.

        A drop counts as high as it may be (optimizers.auto_validation), a latency with the error of
        its measurement.
        """
        sides: dict[str, float] = {}
        if record.get("drop") is not None:
            sides["drop"] = record["drop_high"] - self.max_drop
        if self.size_mb is not None and record.get("bytes") is not None:
            sides["size"] = record["bytes"] / 1e6 / self.size_mb - 1
        if self.latency_ms is not None and record.get("latency_ms") is not None:
            slowest = record["latency_ms"] * (1 + record["latency_ms_error"])
            sides["latency"] = slowest / self.latency_ms - 1
        if self.speed is not None and record.get("speed") is not None:
            least = record["speed"] / (1 + record["latency_ms_error"])
            sides["speed"] = self.speed / least - 1
        # Written so that a NaN counts as a miss.
        return {name: over for name, over in sides.items() if not over <= 0}

    def distance(self, record: Mapping[str, Any]) -> float:
        """How far a trial is from good enough, by its worst side; the drop as a share of its most.

        Infinite for a trial of which the drop is not known.
        """
        if record.get("drop") is None or record["status"] not in (PASSES, DROPS, OVER):
            return math.inf
        misses = self.misses(record)
        if "drop" in misses:
            misses["drop"] /= self.max_drop
        return max(misses.values(), default=0.0)

    def cost(self, record: Mapping[str, Any]) -> tuple[float, float]:
        """The least and the most that a trial may cost by its interval; infinite where unknown."""
        value = record.get(self.field)
        if value is None:
            return math.inf, math.inf
        error = 1 + record.get(f"{self.field}_error", 0.0)
        return value / error, value * error


def passing(records: Sequence[Record]) -> list[int]:
    """Numbers of the trials that keep everything."""
    return [number for number, one in enumerate(records) if one["status"] == PASSES]


def contenders(records: Sequence[Record], goal: Goal, most: int) -> list[int]:
    """Passing trials that may be the best by their intervals, the best first; at most `most`."""
    found = passing(records)
    if not found:
        return []
    reach = min(goal.cost(records[number])[1] for number in found)
    near = [number for number in found if goal.cost(records[number])[0] <= reach]
    return sorted(near, key=lambda n: (sum(goal.cost(records[n])), n))[:most]


def close(record: Mapping[str, Any], goal: Goal) -> bool:
    """Whether a trial may have lost no more than is allowed, by two standard errors."""
    if record.get("drop") is None:
        return False
    return record["drop"] - 2 * (record["drop_error"] or 0) <= goal.max_drop


def undecided(records: Sequence[Record], goal: Goal, chosen: int) -> list[dict[str, Any]]:
    """What would cost less than what was chosen, and was turned down though it may be good enough.

    Returns {"trial", "stages", "drop", "drop_error", "share"} of each, the least drop first; every
    further one costs clearly less. Its stages are with the last one that it was likely to be best
    with; share: of what was chosen costs.
    """
    whole, most = records[chosen][goal.field], goal.cost(records[chosen])[0]
    found: list[dict[str, Any]] = []
    turned_down = [n for n, one in enumerate(records) if one["status"] == DROPS]
    for number in sorted(turned_down, key=lambda n: (records[n]["drop"], n)):
        likely = records[number].get("likely", {})
        one = {**records[number], **likely}
        alone = goal.misses(one).keys() == {"drop"}
        if alone and close(one, goal) and goal.cost(one)[1] < most:
            value = one[goal.field]
            last = [likely["last"]] if likely else []
            told = {name: one[name] for name in ("drop", "drop_error")}
            stages = [*stages_of(one), *last]
            found.append({"trial": number, "stages": stages, **told, "share": value / whole})
            most = value * CLEARLY
    return found


def closest(records: Sequence[Record], goal: Goal) -> int | None:
    """The trial that misses by least; None where no trial came as far as a score."""
    known = [n for n, one in enumerate(records) if goal.distance(one) < math.inf]
    return min(known, key=lambda n: (goal.distance(records[n]), n)) if known else None
