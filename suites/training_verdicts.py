"""From what trainings gave to the verdicts of suites/test_training.py."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gauge import judge as judges
from gauge.judge_training import judge_training_accuracy, judge_training_steps
from gauge.verdict import Status, Verdict
from suites import times
from suites.matrix import Cell
from suites.training import STEP

if TYPE_CHECKING:
    from suites.run import Run


def _both(run: Run, cell: Cell) -> list[tuple[int, Mapping[str, Any], Mapping[str, Any]]]:
    """Seed, FP32's training and the technique's."""
    training = run.training
    return [
        (
            seed,
            training.run(cell, seed, candidate=False).meta,
            training.run(cell, seed, candidate=True).meta,
        )
        for seed in training.seeds_for(cell)
    ]


def _steps(run: Run, cell: Cell, batch: None) -> Verdict:
    considered = run.training.considered(cell)
    trained = _both(run, cell)
    runs = []
    for seed, _, found in trained:
        told = {key: value for key, value in found.items() if key not in ("curve", "seconds")}
        runs.append({"seed": seed, **told, **considered})
    verdict = judge_training_steps(runs, run.limit(cell, "training_steps", None))
    curves = [
        {"seed": seed, "baseline": before["curve"], "candidate": after["curve"]}
        for seed, before, after in trained
    ]
    return dataclasses.replace(verdict, evidence={**verdict.evidence, "curves": curves})


def _accuracy(run: Run, cell: Cell, batch: None) -> Verdict:
    most = run.training.considered(cell)["most_steps"]
    if most is not None:
        reason = f"trained for {most} steps only: no claim on final accuracy"
        return Verdict("training_accuracy", Status.NO_EXPECTATION, reason=reason)
    trained = _both(run, cell)
    measured = {
        "seeds": [seed for seed, _, _ in trained],
        "baseline": [before["score"] for _, before, _ in trained],
        "candidate": [after["score"] for _, _, after in trained],
        "samples": trained[0][1]["samples"],
    }
    return judge_training_accuracy(measured, run.limit(cell, "training_accuracy", None))


def _memory(run: Run, cell: Cell, batch: None) -> Verdict:
    """One process a side; a failure counts when the medians of three fail as well."""
    verdict = _memory_of(run, cell, 1)
    return verdict if verdict.status is not Status.FAIL else _memory_of(run, cell, 3)


def _memory_of(run: Run, cell: Cell, processes: int) -> Verdict:
    arms: dict[str, float | None] = {}
    reason = None
    for arm in ("baseline", "candidate"):
        found = [
            run.training.memory(cell, number, candidate=arm == "candidate")
            for number in range(processes)
        ]
        reason = next((one["reason"] for one in found if one["reason"]), reason)
        told = [one["bytes"] for one in found if one["bytes"] is not None]
        arms[f"{arm}_bytes"] = statistics.median(told) if told else None
    measured = {
        **arms,
        "reason": reason,
        "unavailable": None in arms.values(),
        "extra": {"processes": processes},
    }
    verdict = judges.judge_memory(measured, run.limit(cell, "training_memory", None))
    return dataclasses.replace(verdict, gate="training_memory")


def _speed(run: Run, cell: Cell, batch: None) -> Verdict:
    run.training.considered(cell)
    rounds = run.training.rounds
    measured = times.measured(run, rounds, cell, STEP)
    limit = run.limit(cell, "training_speed", None)
    verdict = judges.judge_speed(measured, limit, rounds.looks)
    processes = rounds.lanes[cell.id, False].tracks[STEP].runs[0]
    samples = processes[0]["samples_a_step"] if processes else None
    verdict = times.here(run, cell, verdict, f"steps of {samples} samples")
    rates = {
        arm: None if seconds is None else 1 / seconds
        for arm, seconds in measured["medians"].items()
    }
    told = {"steps_per_second": rates, "samples_a_step": samples}
    return dataclasses.replace(
        verdict, gate="training_speed", evidence={**verdict.evidence, **told}
    )


GATES: dict[str, Callable[..., Verdict]] = {
    "training_steps": _steps,
    "training_accuracy": _accuracy,
    "training_memory": _memory,
    "training_speed": _speed,
}
