"""The sequential procedure's errors at its limit, simulated under five kinds of noise."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from proof_tables import cell, share, table

from gauge.sequential import FAIL_LEVELS, LOOKS, PASS_LEVELS
from gauge.simulation import NOISES, simulate

Line = dict[str, Any]
NAME = "sizes"
FIRST = 40
SEQUENCES = 50_000
TOLD = {
    "normal": "normal",
    "t4": "Student's t with 4 degrees of freedom",
    "contaminated": "normal, 5 % of processes with three times the SD",
    "mixed": "normal, each process with an SD of its own (lognormal, 0.5)",
    "autocorrelated": "normal, correlation of 0.4 between neighbouring processes",
}
SETTINGS = {
    "sequences": SEQUENCES,
    "noises": list(NOISES),
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
    for index, (number, noise) in enumerate(itertools.product(range(count), NOISES)):
        if index < len(done):
            continue
        if not go_on():
            return
        drawn = np.random.SeedSequence([seed, number, NOISES.index(noise)]).generate_state(1)
        found = simulate(noise, sequences=sequences, seed=int(drawn[0]))
        yield {"noise": noise, **dataclasses.asdict(found)}


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """Shares of PASS, FAIL and confirmed FAIL by noise."""
    found = {}
    for noise in NOISES:
        some = [one for one in lines if one["noise"] == noise]
        total = sum(one["sequences"] for one in some)
        found[noise] = {
            key: share(sum(one[key] for one in some), total)
            for key in ("passed", "failed", "confirmed")
        }
    return found


def page(found: dict[str, Any]) -> list[str]:
    """The piece's part of docs/proof.md."""
    rows = [
        [TOLD[noise], cell(one["passed"]), cell(one["failed"], 3), cell(one["confirmed"], 4)]
        for noise, one in found.items()
    ]
    return [
        "## Sizes of the sequential procedure",
        "",
        "Simulated (gauge/simulation.py) at the limit itself, where both answers are errors: PASS"
        " is nominally 4 % and FAIL 0.1 %. Autocorrelated noise is what cells timed back to back"
        " would meet; the suites take every cell's processes in turns, so that row is a warning"
        " and no claim.",
        "",
        *table(["noise between processes", "PASS", "FAIL, first run", "FAIL, confirmed"], rows),
    ]
