"""--shard I/N: which of a run's cells are one machine's part, whole cells, alike on every machine.

Longest processing time first (Graham, SIAM Journal on Applied Mathematics, 1969): at most a third
above the best split where a cell costs only itself. What a model costs once in each part that holds
a cell of it (training, its baseline, its A/A cell) is counted too, so its cells tend to stay
together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gauge.cache import digest

if TYPE_CHECKING:
    from suites.durations import Durations
    from suites.matrix import Cell

PROCESSES = 3
"""Timing processes that a cell takes until it is decided, as a rule."""
CONTROL_PROCESSES = 12
BATCHES = 2
MOST = 10_000


@dataclass(frozen=True)
class Shard:
    """One of `of` parts, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/5` as the second of five parts; raises pytest.UsageError for anything else."""
        match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        number, of = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= of <= MOST:
            raise pytest.UsageError(
                f"--shard: found {text!r}, expected I/N with I from 1 to N, such as 2/5 for the "
                "second of five parts"
            )
        return cls(number, of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Costs:
    """Seconds by earlier runs, or typical ones where there were none: the same in every part.

    stage: what --stage says. Whether something is cached does not count: that differs between
    machines, and all of them must come to the same split.
    """

    durations: Durations
    stage: str | None

    def once(self, model: str, target: str) -> float:
        """What a model costs a part, however many of its cells are there."""
        guess = self.durations.guess
        seconds = guess(f"{model}-{target}", "baseline")
        if self.stage != "measure":
            seconds += guess(model, "train")
        if self.stage != "build":
            seconds += CONTROL_PROCESSES * guess(f"{model}-AA-{target}", "speed")
        return seconds

    def cell(self, cell: Cell) -> float:
        """What a cell costs by itself."""
        guess = self.durations.guess
        seconds = guess(cell.id, "apply") if self.stage != "measure" else 0.0
        if self.stage != "build":
            seconds += guess(cell.id, "examine") + BATCHES * guess(cell.id, "memory")
            seconds += PROCESSES * guess(cell.id, "speed")
        return seconds


def split(cells: Sequence[Cell], of: int, costs: Costs) -> list[list[str]]:
    """The ids of each part's cells: every cell in one part, whatever order they come in."""
    order = sorted(
        ((costs.cell(cell), cell) for cell in cells), key=lambda one: (-one[0], one[1].id)
    )
    parts: list[list[str]] = [[] for _ in range(of)]
    loads = [0.0] * of
    held: list[set[tuple[str, str]]] = [set() for _ in range(of)]
    for cost, cell in order:
        place = cell.model, cell.target
        once = costs.once(*place)
        after = [
            load + cost + (0.0 if place in kept else once)
            for load, kept in zip(loads, held, strict=True)
        ]
        best = after.index(min(after))
        loads[best] = after[best]
        held[best].add(place)
        parts[best].append(cell.id)
    return [sorted(part) for part in parts]


def described(shard: Shard, parts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What the run's record says of its part; split: the same in all parts of one split."""
    return {"number": shard.number, "of": shard.of, "split": digest([list(one) for one in parts])}
