"""The errors of the whole speed procedure by simulation, the confirming run included.

Log-ratios of processes are drawn, and looked at as gauge.sequential does, all sequences at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from gauge.sequential import FAIL_LEVELS, LOOKS, PASS_LEVELS

if TYPE_CHECKING:
    import numpy as np

NOISES = ("normal", "t4", "contaminated", "mixed", "autocorrelated")
"""Noise between processes, each with an SD of 1: Student's t with 4 degrees of freedom; 5 % of
values three times as wide (Tukey, A survey of sampling from contaminated distributions, 1960);
every process with a σ of its own (lognormal, 0.5); AR(1) with a correlation of 0.4."""

_CONTAMINATED, _WIDER, _MIXED, _CORRELATION = 0.05, 3.0, 0.5, 0.4
_ROWS = 50_000


@dataclass(frozen=True)
class Errors:
    """Counts over sequences. failed: at first. confirmed: by the fresh run as well, which alone is
    a FAIL. processes: all that were taken, confirming runs included.
    """

    sequences: int = 0
    passed: int = 0
    failed: int = 0
    confirmed: int = 0
    processes: int = 0

    def __add__(self, other: Errors) -> Errors:
        names = [one.name for one in fields(self)]
        return Errors(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def inconclusive(self) -> int:
        """Undecided at the last look, or failed at first and not reproduced."""
        return self.sequences - self.passed - self.confirmed

    def interval(self, count: int, confidence: float = 0.95) -> tuple[float, float]:
        """The exact (Clopper-Pearson) interval of a count's share of the sequences."""
        from scipy import stats

        found = stats.binomtest(count, self.sequences).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)


def simulate(
    noise: str,
    distance: float = 0.0,
    sequences: int = 100_000,
    seed: int = 0,
    looks: Sequence[int] = LOOKS,
) -> Errors:
    """Run the procedure over so many cells whose true log-ratio lies `distance` σ above the limit.

    ValueError for an unknown noise. σ is the SD between processes: only the distance in units of
    it matters, as every test uses its own cell's variance.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    total = Errors()
    while total.sequences < sequences:
        rows = min(_ROWS, sequences - total.sequences)
        # A confirming run follows at once, so twice as many as one run takes at most.
        drawn = distance + draw(noise, rng, rows, 2 * looks[-1])
        total += _errors(drawn, looks)
    return total


def draw(noise: str, rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """[rows, columns] values with mean 0 and SD 1; see NOISES."""
    import numpy as np

    if noise == "t4":
        return rng.standard_t(4, (rows, columns)) / math.sqrt(2)
    if noise not in NOISES:
        raise ValueError(f"no such noise: {noise!r}; known are {', '.join(NOISES)}")
    values = rng.standard_normal((rows, columns))
    if noise == "contaminated":
        wide = rng.random((rows, columns)) < _CONTAMINATED
        values[wide] *= _WIDER
        return values / math.sqrt(1 + _CONTAMINATED * (_WIDER**2 - 1))
    if noise == "mixed":
        scales = rng.lognormal(0, _MIXED, (rows, columns))
        return values * scales / math.exp(_MIXED**2)
    if noise == "autocorrelated":
        fresh = math.sqrt(1 - _CORRELATION**2)
        for column in range(1, columns):
            before = values[:, column - 1]
            values[:, column] = _CORRELATION * before + fresh * values[:, column]
    return np.asarray(values)


def _errors(drawn: np.ndarray, looks: Sequence[int]) -> Errors:
    import numpy as np

    outcome, taken = run(drawn[:, : looks[-1]], looks)
    failed = outcome < 0
    # The fresh run goes on where the first one stopped.
    places = taken[failed, None] + np.arange(looks[-1])
    again, more = run(np.take_along_axis(drawn[failed], places, axis=1), looks)
    return Errors(
        sequences=len(drawn),
        passed=int((outcome > 0).sum()),
        failed=int(failed.sum()),
        confirmed=int((again < 0).sum()),
        processes=int(taken.sum() + more.sum()),
    )


def run(values: np.ndarray, looks: Sequence[int] = LOOKS) -> tuple[np.ndarray, np.ndarray]:
    """One run of each row, the limit at 0: (1 PASS, -1 FAIL, 0 undecided), processes taken."""
    import numpy as np
    from scipy import special

    outcome = np.zeros(len(values), int)
    taken = np.full(len(values), looks[-1])
    for look in looks:
        rows = np.flatnonzero((outcome == 0) & (taken >= look))
        part = values[rows, :look]
        t = part.mean(1) / (part.std(1, ddof=1) / math.sqrt(look))
        found = (special.stdtr(look - 1, -t) <= PASS_LEVELS[look]).astype(int)
        found -= special.stdtr(look - 1, t) <= FAIL_LEVELS[look]
        outcome[rows] = found
        taken[rows[found != 0]] = look
    return outcome, taken
