"""From the processes that timed a cell to what the gates of time judge."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, Any

from gauge.verdict import Status, Verdict
from suites.matrix import Cell
from suites.rounds import Rounds

if TYPE_CHECKING:
    from suites.run import Run

MOST_SAMPLES = 200


def measured(run: Run, rounds: Rounds, cell: Cell, batch: int) -> dict[str, Any]:
    """What the processes of a cell measured at one batch size, as judge_speed takes it.

    They are timed now, as many as the limit needs; Stopped where none can be had.
    """
    track = rounds.until(cell, batch)
    if track.stopped:
        raise track.stopped
    first, confirming = track.deciding()
    every = [*first, *(confirming or ())]
    arms = ("baseline", "candidate")
    return {
        "first": _ratios(first),
        "confirming": _ratios(confirming) if confirming else None,
        "blocks": [process["blocks"] for process in every],
        "latency": {arm: _singles(every, arm) for arm in arms} if not track.reported else None,
        "outliers": {arm: sum(one[arm]["outliers"] for one in every) for arm in arms},
        "energy": _energy(every),
        "devices": [process["monitors"]["device"] for process in every],
        "medians": {arm: _middle(first, arm) for arm in arms},
        "samples": {arm: _samples(first, arm) for arm in arms},
        "invalid": track.invalid,
        "threads": run.settings.threads.count,
        "extra": {
            "machine": [{**one["monitors"], "waited_s": one["waited_s"]} for one in every],
            "repeated": rounds.lanes[cell.id, False].repeated,
            "settled": sum(process["warmup"]["settled"] for process in every),
            "candidate_first": [process["settings"]["candidate_first"] for process in every],
            **({key: every[0]["settings"][key] for key in ("cpus", "cache")} if every else {}),
        },
    }


def here(run: Run, cell: Cell, verdict: Verdict, shape: str) -> Verdict:
    """A failure with what its reader asks next: of which shape, on which instruction sets."""
    if verdict.status is not Status.FAIL:
        return verdict
    flags = " ".join(run.capabilities[cell.target]) or "none"
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {shape}; CPU flags {flags}")


def _ratios(processes: list[dict[str, Any]]) -> list[float]:
    return [process["log_ratio"] for process in processes]


def _middle(processes: list[dict[str, Any]], arm: str) -> float | None:
    """Median over processes of each one's median time of a call, in seconds."""
    medians = [statistics.median(process[f"{arm}_samples"]) for process in processes]
    return statistics.median(medians) if medians else None


def _singles(processes: list[dict[str, Any]], arm: str) -> list[float]:
    return [value for process in processes for value in process[arm]["singles"]]


def _energy(processes: list[dict[str, Any]]) -> dict[str, Any]:
    """Joules a call of each arm, median over processes; None with the reason where none tell."""
    told = [one for one in processes if one["energy"]["source"] is not None]
    if not told:
        reason = next((one["energy"]["reason"] for one in processes), "no process was timed")
        return {"baseline": None, "candidate": None, "source": None, "reason": reason}
    found = {
        arm: statistics.median(one[arm]["joules"] for one in told)
        for arm in ("baseline", "candidate")
    }
    return {**found, "source": told[0]["energy"]["source"], "reason": None}


def _samples(processes: list[dict[str, Any]], arm: str) -> list[float]:
    """The processes' samples, thinned evenly where there are too many to keep."""
    samples = [value for process in processes for value in process[f"{arm}_samples"]]
    step = -(-len(samples) // MOST_SAMPLES) if samples else 1
    return samples[::step]
