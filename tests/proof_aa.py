"""A/A gates: a model against its own copy, so the true ratio is 1 and every error is known."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import proof_neighbour
from proof_lab import MODELS, FirstRun, Gate, Lab, round_robin, sigma
from proof_tables import cell, percent, seconds_text, share, table

from gauge.sequential import LOOKS
from suites.rounds import Track

Line = dict[str, Any]
NAME = "aa"
FIRST = 300
SECONDS = 0.3
LANES = 6
BELOW, ABOVE = 0.99, 1.01
CONDITIONS = ("quiet", "neighbour")
SETTINGS = {
    "seconds": SECONDS,
    "lanes": LANES,
    "below": BELOW,
    "above": ABOVE,
    "models": list(MODELS),
    "looks": list(LOOKS),
    "neighbour": proof_neighbour.SETTINGS,
}


def run(
    seed: int,
    count: int,
    *,
    done: Sequence[Line] = (),
    go_on: Callable[[], bool] = lambda: True,
    seconds: float = SECONDS,
    looks: Sequence[int] = LOOKS,
    open_lab: Callable[[], AbstractContextManager[Lab]] = Lab,
) -> Iterator[Line]:
    """`count` gates in all, half of them in each condition, LANES at a time in turns."""
    took = Counter(one["condition"] for one in done)
    index = len(done)
    if index >= count:
        return
    with open_lab() as lab:
        while index < count and go_on():
            condition = min(CONDITIONS, key=lambda name: took[name])
            wanted = (count + (condition == CONDITIONS[0])) // 2 - took[condition]
            gates = [_gate(seed, index + lane, looks) for lane in range(min(LANES, wanted))]
            with proof_neighbour.neighbour(condition == "neighbour") as where:
                round_robin(lab, gates, seconds)
            for gate in gates:
                yield {**gate.line(), "condition": condition, "neighbour": where}
            index += len(gates)
            took[condition] += len(gates)


def _gate(seed: int, index: int, looks: Sequence[int]) -> Gate:
    return Gate(
        seed * 1_000_000 + index,
        MODELS[index % len(MODELS)],
        {"below": Track(1, BELOW, looks), "above": FirstRun(1, ABOVE, looks)},
    )


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """Error counts with exact intervals, by condition and together."""
    by = {name: [one for one in lines if one["condition"] == name] for name in CONDITIONS}
    return {name: _counts(some) for name, some in {**by, "all": list(lines)}.items()}


def _counts(lines: Sequence[Line]) -> dict[str, Any]:
    def rate(track: str, key: str, status: str) -> dict[str, Any]:
        return share(sum(one["verdicts"][track][key] == status for one in lines), len(lines))

    sigmas = [value for value in (sigma([one]) for one in lines) if value is not None]
    others = [one["others"] for one in lines if one["others"] is not None]
    return {
        "gates": len(lines),
        "false_fail_first_run": rate("below", "first", "FAIL"),
        "false_fail_confirmed": rate("below", "status", "FAIL"),
        "false_pass": rate("above", "status", "PASS"),
        "inconclusive_below": rate("below", "status", "INCONCLUSIVE"),
        "inconclusive_above": rate("above", "first", "INCONCLUSIVE"),
        "unsteady": share(sum(_unsteady(one) for one in lines), len(lines)),
        "errors": rate("below", "status", "ERROR"),
        "sigma_pooled": sigma(lines),
        "sigma_quartiles": statistics.quantiles(sigmas, n=4) if len(sigmas) > 1 else None,
        "others_median": statistics.median(others) if others else None,
        "seconds_median": statistics.median(one["seconds"] for one in lines) if lines else None,
        "seconds_total": sum(one["seconds"] for one in lines),
        "places": sorted({one["neighbour"] for one in lines if one["neighbour"]}),
    }


def _unsteady(line: Line) -> bool:
    """Whether a trend within processes took the verdict of either limit."""
    reasons = [one["reason"] or "" for one in line["verdicts"].values()]
    return any(reason.startswith("not steady") for reason in reasons)


def page(found: dict[str, Any]) -> list[str]:
    """The piece's part of docs/proof.md."""
    names = {
        "false_fail_first_run": "FAIL in the first run, limit 1 % below the truth (goal ≤ 0.1 %)",
        "false_fail_confirmed": "FAIL confirmed by a fresh run (goal: none)",
        "false_pass": "PASS, limit 1 % above the truth (goal ≤ 5 %)",
        "inconclusive_below": "INCONCLUSIVE, limit 1 % below",
        "inconclusive_above": "INCONCLUSIVE after the first run, limit 1 % above",
        "unsteady": "of those, not steady at either limit",
        "errors": "ERROR (a process that does not count)",
    }
    columns = [*CONDITIONS, "all"]
    rows = [["gates at each limit", *(str(found[name]["gates"]) for name in columns)]]
    rows += [[told, *(cell(found[name][key]) for name in columns)] for key, told in names.items()]
    told = [found[name] for name in columns]
    rows += [
        ["σ between processes, pooled", *(percent(one["sigma_pooled"]) for one in told)],
        ["σ of a gate, quartiles", *(_quartiles(one["sigma_quartiles"]) for one in told)],
        ["CPU taken by others, median", *(percent(one["others_median"], 0) for one in told)],
        ["time of a gate, median", *(seconds_text(one["seconds_median"]) for one in told)],
        ["time in all", *(seconds_text(one["seconds_total"]) for one in told)],
    ]
    places = ", ".join(found["all"]["places"]) or "which was not run"
    return [
        "## A/A speed gates",
        "",
        "Each model against its own copy: the true ratio is exactly 1. One sequence of processes"
        " is held to two limits, 0.99 (where FAIL is the error) and 1.01 (where PASS is); each rate"
        " is valid by itself, and the two are not independent. A FAIL at 1.01 is right and is not"
        f" confirmed here. The neighbour computes and streams memory half of the time: {places}.",
        "",
        *table(["", *columns], rows),
    ]


def _quartiles(values: Sequence[float] | None) -> str:
    return " / ".join(map(percent, values)) if values else "too few gates"
