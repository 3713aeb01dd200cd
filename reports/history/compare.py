"""What changed from one run to another: ratios to FP32 and per-sample results, cell by cell. Pure.

Only what was measured against FP32 in the same process is compared, never a bare time; and only on
one machine class, with the same baseline weights.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, variance
from typing import NamedTuple

from reports.cells import SEVERITY
from reports.history import machine, samples
from reports.history.index import Row
from reports.history.side import Side
from reports.plain import listing, mapping
from reports.records import Record

SIZES = {"speed": 0.03, "size": 0.03, "memory": 0.10}
"""A ratio that changes by less is the same. Speed: what limits leave to noise as well; memory: what
the harness itself adds to a small model moves by a twentieth."""
LEVEL = 0.99
"""Two-sided, of the interval of a ratio of speedups."""
DROP, DROP_P = 0.002, 0.005
"""A score that drops by less, or by chance with at least this p, is the same."""
RATIOS = {"speed": "higher", "size": "lower", "memory": "lower"}
"""Gates whose value is a ratio to FP32, and which way it is better."""

REPORTED = "NO_EXPECTATION"
"""The status of what is shown and held to no limit (a reported batch size)."""

WORSE, BETTER, SAME, UNCLEAR = "worse", "better", "same", "unclear"


class Change(NamedTuple):
    """One pair. change: the later ratio over the earlier one, or the drop of a score.

    low, high: its interval (99 % of a ratio, 95 % of a drop), None where nothing tells it.
    """

    row: Row
    old: float
    new: float
    change: float
    low: float | None
    high: float | None
    word: str
    text: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two runs compared. machine: fields that differ, which leave nothing to compare.

    software: versions that differ. unpaired: model -> why its cells pair nothing. alone: why a gate
    pairs nothing -> its cells. turned: rows whose status became worse or better, with the earlier.
    """

    old: Side
    new: Side
    machine: list[str]
    software: list[str]
    unpaired: dict[str, str] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    alone: dict[str, list[str]] = field(default_factory=dict)
    turned: list[tuple[Row, Row]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    errored: list[str] = field(default_factory=list)

    def of(self, *words: str) -> list[Change]:
        """The changes of these kinds, the largest first."""
        found = [one for one in self.changes if one.word in words]
        return sorted(found, key=lambda one: -_magnitude(one))

    @property
    def good(self) -> bool:
        """Whether something was compared and nothing gated became worse, missing or an error."""
        worse = [one for one in self.of(WORSE) if one.row.status != REPORTED]
        return bool(self.changes) and not (worse or self.missing or self.errored)


def _magnitude(one: Change) -> float:
    if one.row.gate not in RATIOS:
        return abs(one.change)
    return abs(math.log(one.change)) if one.change > 0 else math.inf


def compare(old: Side, new: Side) -> Comparison:
    """Compare two runs."""
    differing = machine.differing(machine.deciding(old.run), machine.deciding(new.run))
    software = machine.differing(machine.software(old.run), machine.software(new.run))
    if differing:
        return Comparison(old, new, differing, software)
    unpaired = {
        model: why
        for model in dict.fromkeys(row.model for row in new.rows.values())
        if (why := changed_model(old, new, model))
    }
    changes: list[Change] = []
    alone: dict[str, list[str]] = {}
    turned = []
    for key, row in new.rows.items():
        before = old.rows.get(key)
        if before is None or row.model in unpaired:
            continue
        found = pair(before, row, old, new)
        if isinstance(found, Change):
            changes.append(found)
        elif found is not None:
            alone.setdefault(f"{row.gate}: {found}", []).append(row.cell)
        if SEVERITY.index(before.status) != SEVERITY.index(row.status):
            turned.append((before, row))
    return Comparison(old, new, [], software, unpaired, changes, alone, turned, *cells(old, new))


class Cells(NamedTuple):
    """Which cells two runs do not have in common. errored: measured before, refused or failed now.

    renamed: missing cells with the new ones that they seem to be.
    """

    missing: list[str]
    added: list[str]
    renamed: list[tuple[str, str]]
    errored: list[str]


def cells(old: Side, new: Side) -> Cells:
    """The cells that only one of two runs has, or has measured."""
    missing = [cell for cell in old.cells if cell not in new.cells]
    added = [cell for cell in new.cells if cell not in old.cells]
    errored = [cell for cell, measured in new.cells.items() if old.cells.get(cell) and not measured]
    return Cells(missing, added, list(_renamed(missing, added, old, new)), errored)


def holds(told: Record) -> bool:
    """Whether a release may go on by its record's `history`: all that was measured still is.

    Zero compared pairs are a failure: a comparison that compares nothing is always green.
    """
    return bool(told["compared"]) and not (told.get("missing") or told.get("errored"))


def changed_model(old: Side, new: Side, model: str) -> str | None:
    """Why nothing of a model pairs: other baseline weights; None where it does."""
    before, after = old.weights(model), new.weights(model)
    if before is None or before == after or model not in mapping(old.run.get("models")):
        return None
    if after is None:
        return None  # all of its cells were refused or failed before it was loaded
    return f"baseline model changed: weights {before[:12]}, then {after[:12]}"


def pair(before: Row, row: Row, old: Side, new: Side) -> Change | str | None:
    """A gate's change; a sentence where it cannot be told, None where there is none to tell."""
    if row.gate == "accuracy":
        if before.value is None or row.value is None:
            return None
        return accuracy(before, row, old, new)
    if row.gate not in RATIOS or not (before.value and row.value):
        return None
    # A run that is still going may not know its own noise yet.
    return ratio(before, row, (noise(old), noise(new) or noise(old)))


def ratio(before: Row, row: Row, noises: tuple[float | None, float | None]) -> Change:
    """A ratio to FP32 against the earlier one; both are above zero. noises: see `noise`."""
    old, new = before.value or 0.0, row.value or 0.0
    change = new / old
    low, high = _interval(before.processes, row.processes, noises)
    gain = change if RATIOS[row.gate] == "higher" else 1 / change
    word, allowed = SAME, 1 - SIZES[row.gate]
    if not allowed <= gain <= 1 / allowed:
        word = WORSE if gain < 1 else BETTER
        if row.gate == "speed" and (low is None or high is None or low <= 1 <= high):
            word = UNCLEAR
    return Change(row, old, new, change, low, high, word)


def noise(side: Side) -> float | None:
    """SD of a log-ratio between processes by the run's A/A cells; None where it timed none."""
    cells = [mapping(one) for one in listing(side.run.get("aa"))]
    known = [(one["sd"], one["processes"] - 1) for one in cells if one.get("sd") is not None]
    weight = sum(count for _, count in known)
    return math.sqrt(sum(sd**2 * count for sd, count in known) / weight) if weight else None


def _interval(
    old: Sequence[float] | None,
    new: Sequence[float] | None,
    noises: tuple[float | None, float | None],
) -> tuple[float | None, float | None]:
    """The interval of the ratio of two speedups.

    A clear cell stops after two processes, whose spread says little: it counts as at least that of
    the run's A/A cells. Without those by B. Welch (Biometrika 34, 1947).
    """
    if not old or not new or min(len(old), len(new)) < 2 or None in (*old, *new):
        return None, None
    from scipy import special

    known = [one for one in noises if one is not None]
    floors = noises if len(known) == 2 else (0.0, 0.0)
    parts = [
        max(variance(values), (floor or 0.0) ** 2) / len(values)
        for values, floor in zip((old, new), floors, strict=True)
    ]
    error = math.sqrt(sum(parts))
    middle = fmean(new) - fmean(old)
    degrees = math.inf
    if len(known) < 2 and error:
        spread = sum(part**2 / (len(v) - 1) for part, v in zip(parts, (old, new), strict=True))
        degrees = sum(parts) ** 2 / spread
    half = float(special.stdtrit(degrees, (1 + LEVEL) / 2)) * error
    return math.exp(middle - half), math.exp(min(middle + half, 700.0))


def accuracy(before: Row, row: Row, old: Side, new: Side) -> Change | str:
    """The drop from the earlier scores, sample by sample."""
    earlier, later = (one.samples.of(row.cell) for one in (old, new))
    if earlier is None or later is None:
        return f"no per-sample results of the {'earlier' if earlier is None else 'later'} run"
    why = samples.unpaired(earlier, later)
    if why is not None:
        return why
    found = samples.pair(earlier.candidate, later.candidate, later.groups)
    word = SAME
    if found.p <= DROP_P and found.drop >= DROP:
        word = WORSE
    elif found.high < 0 and found.drop <= -DROP:
        word = BETTER
    text = f"{found.lost} samples lost, {found.gained} gained, of {found.n}; p {found.p:.2g}"
    level = [float(one.candidate.mean()) for one in (earlier, later)]
    return Change(row, level[0], level[1], found.drop, found.low, found.high, word, text)


def _renamed(
    missing: Iterable[str], added: list[str], old: Side, new: Side
) -> Iterable[tuple[str, str]]:
    """Missing cells and the new ones that they seem to be now, by their artifacts or names."""
    left = list(added)
    lost = list(missing)
    for cell in list(lost):
        sha256 = old.artifact(cell)
        same = next((one for one in left if sha256 and new.artifact(one) == sha256), None)
        if same:
            left.remove(same)
            lost.remove(cell)
            yield cell, same
    for cell in lost:
        for near in difflib.get_close_matches(cell, left, n=1, cutoff=0.85):
            left.remove(near)
            yield cell, near
