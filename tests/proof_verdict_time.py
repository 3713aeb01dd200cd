"""Time to a verdict, and its errors, side by side with pytest-benchmark on the same pairs."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from proof_lab import BATCH, MODELS, Gate, Lab, round_robin, sigma
from proof_tables import cell, percent, seconds_text, share, table

from gauge.sequential import LOOKS
from suites.rounds import BRIEF, FAR, GATED, Track

Line = dict[str, Any]
NAME = "verdict_time"
FIRST = 60
LIMITS = {
    "far below": (0.5, "PASS"),
    "3 % below": (0.97, "PASS"),
    "3 % above": (1.03, "FAIL"),
    "far above": (2.0, "FAIL"),
}
"""Where the limit lies about the true ratio of 1, and what is right there."""

PEERS = {
    "default": [],
    "precision": ["--benchmark-precision=0.01", "--benchmark-max-time=10"],
}
SETTINGS = {
    "seconds": GATED.seconds,
    "brief": {"far": math.exp(-FAR), **dataclasses.asdict(BRIEF)},
    "limits": {name: list(limit) for name, limit in LIMITS.items()},
    "peers": PEERS,
    "models": list(MODELS),
    "looks": list(LOOKS),
}


def run(
    seed: int,
    count: int,
    *,
    done: Sequence[Line] = (),
    go_on: Callable[[], bool] = lambda: True,
    seconds: float = GATED.seconds,
    looks: Sequence[int] = LOOKS,
    open_lab: Callable[[], AbstractContextManager[Lab]] = Lab,
    peers: dict[str, list[str]] = PEERS,
) -> Iterator[Line]:
    """`count` pairs, a pair of each model in turns: first the gates, then both peers."""
    index = len(done)
    if index >= count:
        return
    with open_lab() as lab:
        while index < count and go_on():
            gates = [
                Gate(
                    seed * 1_000_000 + one,
                    MODELS[one % len(MODELS)],
                    {name: Track(1, limit, looks) for name, (limit, _) in LIMITS.items()},
                )
                for one in range(index, min(index + len(MODELS), count))
            ]
            round_robin(lab, gates, seconds)
            told: list[dict[str, Any]] = [{} for _ in gates]
            for name, options in peers.items():
                for gate, found in zip(gates, told, strict=True):
                    found[name] = _peer(lab, gate.model, options)
            for gate, found in zip(gates, told, strict=True):
                yield {**gate.line(), "peers": found}
            index += len(gates)


def _peer(lab: Lab, model: str, options: Sequence[str]) -> dict[str, Any]:
    found = lab.job(
        "proof_jobs:benchmark",
        model,
        weights=str(lab.weights(model)),
        batch=BATCH,
        folder=str(lab.folder),
        options=list(options),
    )
    base, candidate = found["baseline"], found["candidate"]
    return {
        "mean": round(base["mean"] / candidate["mean"], 6),
        "median": round(base["median"] / candidate["median"], 6),
        "rounds": [base["rounds"], candidate["rounds"]],
        "seconds": round(found["seconds"], 2),
    }


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """Seconds and errors of each way, by where the limit lies."""
    ways: dict[str, Any] = {"optgauge": {name: _ours(lines, name) for name in LIMITS}}
    for peer in PEERS:
        for what in ("mean", "median"):
            ways[f"{peer}, {what}"] = {name: _theirs(lines, peer, what, name) for name in LIMITS}
    return {"pairs": len(lines), "sigma_pooled": sigma(lines), "ways": ways}


def _ours(lines: Sequence[Line], name: str) -> dict[str, Any]:
    right = LIMITS[name][1]
    said = [one["verdicts"][name]["status"] for one in lines]
    wrong = {"PASS": "FAIL", "FAIL": "PASS"}[right]
    return {
        "seconds_median": _median([one["spent_s"][name] for one in lines]),
        "wrong": share(said.count(wrong), len(lines)),
        "undecided": share(len(said) - said.count(right) - said.count(wrong), len(lines)),
    }


def _theirs(lines: Sequence[Line], peer: str, what: str, name: str) -> dict[str, Any]:
    limit, right = LIMITS[name]
    measured = [one["peers"][peer] for one in lines]
    wrong = sum((one[what] >= limit) != (right == "PASS") for one in measured)
    return {
        "seconds_median": _median([one["seconds"] for one in measured]),
        "wrong": share(wrong, len(lines)),
        "undecided": share(0, len(lines)),
    }


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def page(found: dict[str, Any]) -> list[str]:
    """The piece's part of docs/proof.md."""
    names = {
        "optgauge": "Optgauge",
        **{
            f"{peer}, {what}": f"pytest-benchmark {' '.join(words) or 'as it is'}, {what}s compared"
            for peer, words in PEERS.items()
            for what in ("mean", "median")
        },
    }
    rows = []
    for name, (limit, right) in LIMITS.items():
        for way, told in names.items():
            one = found["ways"][way][name]
            undecided = cell(one["undecided"]) if way == "optgauge" else "never says so"
            where = f"{name} ({limit:g}, {right} is right)"
            time = seconds_text(one["seconds_median"])
            rows.append([where, told, time, cell(one["wrong"]), undecided])
    return [
        "## Time to a verdict",
        "",
        "Pairs whose true ratio is 1, judged against limits on both sides, in one run:"
        " Optgauge's processes as the suites time them, then pytest-benchmark on the same pair in"
        " a fresh process. Its users compare two means or medians with the limit, which always"
        " gives an answer. Times are those of the gate's own processes, a confirming run included"
        " (goal: median at most 5 s far from the limit, 60 s at 3 %), and of the whole"
        " pytest-benchmark run; importing torch counts for neither.",
        "",
        *table(["limit", "way", "time, median", "wrong", "undecided"], rows),
        "",
        f"{found['pairs']} pairs; σ between processes, pooled: {percent(found['sigma_pooled'])}.",
    ]
