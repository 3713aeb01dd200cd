"""Which cells to take: the fastest that keep the accuracy, the Pareto set, geometric means."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reports.cells import Cell

Place = tuple[str, str, str | None]
"""Model, target and class: what is never mixed when cells are compared."""


@dataclass(frozen=True)
class Ratio:
    """A speedup with its interval; low and high are None where a part had none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Pick:
    """The recommended cell of one model, target and class.

    cell: None when none keeps the accuracy; `instead` counts what stood in the way.
    against_fp32: its speed over the best lossless FP32 cell of that model and device (`best_fp32`;
        None where eager FP32 itself is the best). Estimated from two measured ratios.
    waived: a faster cell that keeps the accuracy only by a waiver.
    """

    model: str
    target: str
    class_: str | None
    cell: Cell | None
    best_fp32: Cell | None = None
    against_fp32: Ratio | None = None
    waived: Cell | None = None
    instead: tuple[tuple[str, int], ...] = ()

    @property
    def pays(self) -> bool | None:
        """Whether it is faster than eager FP32 beyond its interval; None without an interval."""
        verdict = self.cell.gate("speed") if self.cell else None
        return None if verdict is None or verdict.get("low") is None else verdict["low"] > 1


@dataclass(frozen=True)
class Mean:
    """The geometric mean of a technique's speedups over the models where it keeps the accuracy."""

    technique: str
    target: str
    class_: str | None
    value: float | None
    covered: int
    left_out: tuple[tuple[str, int], ...]


def place(cell: Cell) -> Place:
    """The group of cells that a cell may be compared with."""
    return cell.model, cell.target, cell.class_


def by_place(cells: Iterable[Cell]) -> dict[Place, list[Cell]]:
    """Cells by model, target and class, models and targets in the order in which they occur."""
    groups: dict[Place, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(place(cell), []).append(cell)
    order = {key: index for index, key in enumerate(dict.fromkeys(key[:2] for key in groups))}
    keys = sorted(groups, key=lambda key: (order[key[:2]], key[2] or "~"))
    return {key: groups[key] for key in keys}


def obstacle(cell: Cell) -> str | None:
    """Why a cell cannot be recommended, in two or three words, or None."""
    if not cell.measured:
        return "crashed" if cell.status == "ERROR" else "refused"
    for gate in ("evidence", "reload", "accuracy"):
        verdict = cell.gate(gate)
        status = "missing" if verdict is None else verdict["status"]
        if status == "WAIVED":
            return f"{gate} waived"
        if status != "PASS":
            return f"{gate} {_WORDS.get(status, 'without a verdict')}"
    if _loosened(cell):
        return "accuracy lost, as the policy knows"
    return "without a speed" if _speed(cell) is None else None


def _loosened(cell: Cell) -> bool:
    """Whether accuracy passed by a looser limit only than the one for everything else."""
    verdict = cell.gate("accuracy") or {}
    margin = (verdict.get("evidence") or {}).get("margin")
    allowed = (verdict.get("limit") or {}).get("max")
    high = verdict.get("high")
    if margin is None or allowed is None or allowed <= margin:
        return False
    return high is None or high > margin


_WORDS = {
    "FAIL": "fails",
    "ERROR": "crashed",
    "INCONCLUSIVE": "undecided",
    "REFUSED": "refused",
    "NO_BASELINE": "without a baseline",
    "NO_EXPECTATION": "without a limit",
    "missing": "missing",
}


def recommend(cells: list[Cell]) -> list[Pick]:
    """For each model, target and class the fastest cell that keeps the accuracy."""
    best = _best_fp32(cells)
    picks = []
    for (model, target, class_), group in by_place(c for c in cells if not c.trains).items():
        chosen = _fastest(cell for cell in group if obstacle(cell) is None)
        gates = ("evidence", "reload", "accuracy")
        waived = _fastest(cell for cell in group if cell.holds(*gates, also="WAIVED"))
        if waived is chosen:
            waived = None
        reasons = Counter(why for cell in group if (why := obstacle(cell)))
        rival = best.get((model, group[0].fp32_target))
        against = _against(chosen, rival) if chosen else None
        instead = tuple(sorted(reasons.items()))
        picks.append(Pick(model, target, class_, chosen, rival, against, waived, instead))
    return picks


def pareto(cells: list[Cell]) -> set[tuple[str, str, str]]:
    """Keys of the cells that no other of their group beats in both drop and speedup.

    Only cells that are what they claim to be compete; one may still drop more than its limit.
    """
    front = set()
    for group in by_place(cells).values():
        points = [
            (drop, -speed, cell.key)
            for cell in group
            if (drop := cell.value("accuracy")) is not None
            and (speed := cell.value("speed")) is not None
            and cell.holds("evidence", "reload", also="WAIVED")
        ]
        least, last = math.inf, None
        for drop, slowness, key in sorted(points):
            if slowness < least or (drop, slowness) == last:
                front.add(key)
                least, last = slowness, (drop, slowness)
    return front


def means(cells: list[Cell]) -> list[Mean]:
    """For each technique and target the geometric mean over models, highest first."""
    groups: dict[tuple[str, str, str | None], list[Cell]] = {}
    for cell in cells:
        if not cell.trains:
            groups.setdefault((cell.technique, cell.target, cell.class_), []).append(cell)
    found = []
    for key, group in groups.items():
        reasons = Counter(why for cell in group if (why := obstacle(cell)))
        speeds = [speed for cell in group if obstacle(cell) is None and (speed := _speed(cell))]
        value = math.exp(math.fsum(map(math.log, speeds)) / len(speeds)) if speeds else None
        found.append(Mean(*key, value, len(speeds), tuple(sorted(reasons.items()))))
    return sorted(found, key=lambda mean: (-(mean.value or 0), mean.technique, mean.target))


def _speed(cell: Cell) -> float | None:
    value = cell.value("speed")
    return value if value is not None and value > 0 else None


def _fastest(cells: Iterable[Cell]) -> Cell | None:
    timed = [cell for cell in cells if _speed(cell)]
    return max(timed, key=lambda cell: _speed(cell) or 0.0, default=None)


def _best_fp32(cells: list[Cell]) -> dict[tuple[str, str], Cell]:
    """For each model and FP32 target the fastest lossless cell that beats eager FP32."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.lossless and cell.target == cell.fp32_target and obstacle(cell) is None:
            groups.setdefault((cell.model, cell.target), []).append(cell)
    best = {key: _fastest(group) for key, group in groups.items()}
    return {key: cell for key, cell in best.items() if cell and (_speed(cell) or 0) > 1}


def _against(cell: Cell, rival: Cell | None) -> Ratio:
    mine = _ratio(cell)
    if rival is None:
        return mine
    if rival is cell:
        return Ratio(1.0)
    theirs = _ratio(rival)
    # Both are ratios to the same eager FP32, measured in different processes: independent, so the
    # half-widths of their logarithms add as squares.
    value = mine.value / theirs.value
    down = _together(_half(mine.value, mine.low), _half(theirs.value, theirs.high))
    up = _together(_half(mine.value, mine.high), _half(theirs.value, theirs.low))
    return Ratio(
        value,
        None if down is None else value * math.exp(-down),
        None if up is None else value * math.exp(up),
    )


def _ratio(cell: Cell) -> Ratio:
    verdict = cell.gate("speed") or {}
    return Ratio(verdict["value"], verdict.get("low"), verdict.get("high"))


def _half(value: float, bound: float | None) -> float | None:
    return None if bound is None or bound <= 0 else abs(math.log(bound / value))


def _together(mine: float | None, theirs: float | None) -> float | None:
    return None if mine is None or theirs is None else math.hypot(mine, theirs)
