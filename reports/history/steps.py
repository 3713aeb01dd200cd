"""Where a series of runs changes its level, by how much, and how likely that is chance.

Change points by PELT (R. Killick, P. Fearnhead, I. Eckley, JASA 107, 2012) through ruptures, each
kept if shuffling the runs on both sides of it seldom gives as large a step (a permutation test of
the largest cumulative sum, so that choosing the place is counted in).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from reports.records import RecordError

FEWEST = 4
"""Runs before a step can be told: two on either side."""
LEAST_SD = 0.002
"""Of a log-ratio; below it differences of rounding would be steps."""
PERMUTATIONS = 999
SIGNIFICANT = 0.01
CREEPING = 0.05
"""A creep is confirmed by timing afterwards, so this much chance may ask for it."""


class Step(NamedTuple):
    """A change of level. at: the first run of the new one; ratio: new level over old; p: chance."""

    at: int
    ratio: float
    p: float


class Creep(NamedTuple):
    """The last level against the best one before it. best: the last run of that one."""

    best: int
    ratio: float
    p: float
    runs: int


def check() -> None:
    """RecordError where ruptures is not installed."""
    if importlib.util.find_spec("ruptures") is None:
        what = "steps of a series are found with ruptures, which is not installed"
        raise RecordError(None, None, what, "pip install 'optgauge[history]'")


def steps(logs: Sequence[float]) -> list[Step]:
    """The steps of a series of log-ratios in order of time; p up to .01 each."""
    import numpy as np

    ends = _ends(logs)
    values = np.asarray(logs, dtype=float)
    bounds = [0, *ends]
    found = []
    for start, at, end in zip(bounds, bounds[1:], bounds[2:], strict=False):
        p = _chance(values[start:end])
        if p <= SIGNIFICANT:
            rise = values[at:end].mean() - values[start:at].mean()
            found.append(Step(at, math.exp(rise), p))
    return found


def creep(logs: Sequence[float]) -> Creep | None:
    """The last level of a series against the best before it; None where there is one level only."""
    import numpy as np

    ends = _ends(logs)
    if len(ends) < 2:
        return None
    values = np.asarray(logs, dtype=float)
    starts = [0, *ends[:-1]]
    levels = [values[start:end].mean() for start, end in zip(starts, ends, strict=True)]
    best = max(range(len(levels) - 1), key=lambda number: levels[number])
    # By all the runs since: a creep has many small levels, none of which says much alone.
    p = _chance(values[starts[best] :])
    ratio = math.exp(levels[-1] - levels[best])
    return Creep(ends[best] - 1, ratio, p, ends[-1] - starts[-1])


def _ends(logs: Sequence[float]) -> list[int]:
    """Where each level ends, the whole series' end last."""
    count = len(logs)
    if count < FEWEST:
        return [count]
    check()
    import numpy as np
    import ruptures

    values = np.asarray(logs, dtype=float)
    # The noise from one run to the next, by the median: a step hardly moves it.
    jumps = np.abs(np.diff(values))
    sd = max(float(np.median(jumps)) / 0.6745 / math.sqrt(2), LEAST_SD)
    penalty = 3 * sd**2 * math.log(count)
    found: Any = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(values)
    return [int(end) for end in found.predict(pen=penalty)]


def _chance(values: Any) -> float:
    """How often shuffled runs have as large a step somewhere."""
    import numpy as np

    generator = np.random.default_rng(0)
    shuffled = generator.permuted(np.tile(values, (PERMUTATIONS, 1)), axis=1)
    least = _largest(values[None])[0] * (1 - 1e-9)
    return float((1 + (_largest(shuffled) >= least).sum()) / (1 + PERMUTATIONS))


def _largest(rows: Any) -> Any:
    """The largest standardised step of each row, over all places with two runs on either side."""
    import numpy as np

    count = rows.shape[1]
    sums = np.cumsum(rows - rows.mean(axis=1, keepdims=True), axis=1)[:, 1 : count - 2]
    left = np.arange(2, count - 1)
    return np.abs(sums / np.sqrt(left * (count - left) / count)).max(axis=1)
