"""The sequential procedure's errors at its limit, simulated under five kinds of noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from proof_tables import cell, share, table
from scipy import special

from gauge.sequential import FAIL_LEVELS, LOOKS, PASS_LEVELS

Line = dict[str, Any]
NAME = "sizes"
FIRST = 40
SEQUENCES = 50_000
CORRELATION = 0.4
NOISES = {
    "normal": "normal",
    "t4": "Student's t with 4 degrees of freedom",
    "contaminated": "normal, 5 % of processes with five times the SD",
    "mixed": "normal, each process with an SD drawn from 0.5 to 2",
    "ar": f"normal, autocorrelation of {CORRELATION} between neighbouring processes",
}
SETTINGS = {
    "sequences": SEQUENCES,
    "noises": NOISES,
    "looks": list(LOOKS),
    "pass_levels": [PASS_LEVELS[look] for look in LOOKS],
    "fail_levels": [FAIL_LEVELS[look] for look in LOOKS],
}


def run(
    seed: int,
    count: int,
    *,
    done: Sequence[Line] = (),
    go_on: Callable[[], bool] = lambda: True,
    sequences: int = SEQUENCES,
) -> Iterator[Line]:
    """`count` batches of sequences of each noise, all at their limit."""
    for index, (number, kind) in enumerate(itertools.product(range(count), NOISES)):
        if index < len(done):
            continue
        if not go_on():
            return
        rng = np.random.default_rng([seed, number, list(NOISES).index(kind)])
        first, again = (judge(noise(kind, rng, sequences)) for _ in range(2))
        yield {
            "noise": kind,
            "sequences": sequences,
            "pass": int((first == 1).sum()),
            "fail": int((first == -1).sum()),
            "fail_confirmed": int(((first == -1) & (again == -1)).sum()),
        }


def noise(kind: str, rng: np.random.Generator, count: int) -> np.ndarray:
    """Log-ratios [count, 12] about a limit of 0; their scale does not matter to a t test."""
    shape = (count, LOOKS[-1])
    if kind == "t4":
        return rng.standard_t(4, shape)
    values = rng.standard_normal(shape)
    if kind == "contaminated":
        return values * np.where(rng.random(shape) < 0.05, 5.0, 1.0)
    if kind == "mixed":
        return values * rng.uniform(0.5, 2.0, shape)
    if kind == "ar":
        for step in range(1, shape[1]):
            fresh = math.sqrt(1 - CORRELATION**2) * values[:, step]
            values[:, step] = CORRELATION * values[:, step - 1] + fresh
    return values


def judge(values: np.ndarray) -> np.ndarray:
    """1 where `gauge.sequential.decide` says PASS against a ratio of 1, -1 for FAIL, else 0."""
    said = np.zeros(len(values), int)
    for look in LOOKS:
        part = values[:, :look]
        t = part.mean(1) / (part.std(1, ddof=1) / math.sqrt(look))
        undecided = said == 0
        said[undecided & (special.stdtr(look - 1, -t) <= PASS_LEVELS[look])] = 1
        said[undecided & (special.stdtr(look - 1, t) <= FAIL_LEVELS[look])] = -1
    return said


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """Shares of PASS, FAIL and confirmed FAIL by noise."""
    found = {}
    for kind in NOISES:
        some = [one for one in lines if one["noise"] == kind]
        total = sum(one["sequences"] for one in some)
        found[kind] = {
            key: share(sum(one[key] for one in some), total)
            for key in ("pass", "fail", "fail_confirmed")
        }
    return found


def page(found: dict[str, Any]) -> list[str]:
    """The piece's part of docs/proof.md."""
    rows = [
        [NOISES[kind], cell(one["pass"]), cell(one["fail"], 3), cell(one["fail_confirmed"], 4)]
        for kind, one in found.items()
    ]
    return [
        "## Sizes of the sequential procedure",
        "",
        "Simulated at the limit itself, where both answers are errors: PASS is nominally 4 % and"
        " FAIL 0.1 %. Autocorrelated noise is what cells timed back to back would meet; the suites"
        " take every cell's processes in turns, so that row is a warning and no claim.",
        "",
        *table(["noise between processes", "PASS", "FAIL, first run", "FAIL, confirmed"], rows),
    ]
