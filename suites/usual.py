"""What each gated speed usually is here, to say which limits sit too near to be decided."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from gauge.clearance import clearance, too_near
from gauge.policy import Limit
from gauge.verdict import TIMED_GATES
from reports import records

if TYPE_CHECKING:
    from suites.run import Run

FILE = "usual_speed.json"
KEPT = 5


class Usual:
    """The last few speedups and their σ of each cell and batch size, in a small JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, list[list[float]]] = {}
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError):
            return  # a first run, or a damaged file: measured again
        if isinstance(data, dict):
            self.seen = {key: kept for key, row in data.items() if (kept := _pairs(row))}

    def add(self, record: dict[str, Any]) -> None:
        """Take a speed verdict that was decided or came close; others say nothing of the usual."""
        evidence = record["evidence"]
        sigma = evidence.get("sigma")
        if evidence.get("steady") is False:
            return  # a ratio that moves is no usual one
        if record["gate"] not in TIMED_GATES or None in (record["limit"], record["value"]):
            return
        if sigma is not None and record["value"] > 0:
            mode = evidence.get("cache", {}).get("mode", "warm")
            key = _key(record["id"], record["batch"], mode)
            pair = [round(record["value"], 5), round(sigma, 6)]
            self.seen[key] = [*self.seen.get(key, []), pair][-KEPT:]

    def of(self, cell: str, batch: int | None, mode: str = "warm") -> tuple[float, float] | None:
        """Median speedup and σ of the last runs with caches in that mode, or None."""
        row = self.seen.get(_key(cell, batch, mode))
        if not row:
            return None
        return median(value for value, _ in row), median(sigma for _, sigma in row)

    def save(self) -> None:
        records.replace(self.path, json.dumps(self.seen).encode())


def _key(cell: str, batch: int | None, mode: str) -> str:
    size = "" if batch is None else f"-b{batch}"
    return f"{cell}{size}" + ("" if mode == "warm" else f"-{mode}")


def _pairs(row: Any) -> list[list[float]]:
    """The usable pairs of one row of the file."""
    if not isinstance(row, list):
        return []
    return [
        pair
        for pair in row
        if isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(number, float | int) and math.isfinite(number) for number in pair)
        and pair[0] > 0
    ]


def near_limits(run: Run) -> list[str]:
    """Speed limits of this run that are nearer than max(3 %, 2.5 σ) to what the cell usually is.

    A limit above the usual value is left to its gate, which fails; one with `near` says why it
    may be so near.
    """
    usual = Usual(run.settings.cache / FILE)
    return list(_near(run, usual))


def _near(run: Run, usual: Usual) -> Iterator[str]:
    for cell, gate, batch in dict.fromkeys(run.selected.values()):
        if gate not in TIMED_GATES:
            continue
        limit = run.limit(cell, gate, batch)
        # A step of a training has no cold caches.
        mode = "warm" if batch is None else run.settings.cache_mode
        found = usual.of(cell.id, batch, mode)
        if not isinstance(limit, Limit) or limit.near or found is None:
            continue
        value, sigma = found
        if value >= limit.bound and too_near(limit.bound, value, sigma):
            where = cell.id if batch is None else f"{cell.id} at batch {batch}"
            yield (
                f"{limit.source}: {gate} >= {limit.bound:g} is too near to decide: "
                f"{where} usually reaches {value:.3g} (σ {100 * sigma:.1f} %); "
                f"keep at most {value / clearance(sigma):.3g}, or say in the line why: "
                'near = "…"'
            )
