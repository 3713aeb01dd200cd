"""From what was measured of a cell to the verdict of one of its gates."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gauge import judge as judges
from gauge.verdict import Status, Verdict
from suites import (
    ablation,
    choices,
    edge_verdicts,
    recording,
    serving_verdicts,
    times,
    training_verdicts,
)
from suites.engine import Stopped
from suites.matrix import Cell

if TYPE_CHECKING:
    from suites.run import Run

HEARD = 30.0
"""dB: noise of less than a thousandth of a layer's power changes few answers."""


def judge(run: Run, cell: Cell, gate: str, batch: int | None) -> Verdict:
    """Measure what the gate asks (unless it has been), hold it to the policy, apply waivers."""
    try:
        verdict = _GATES[gate](run, cell, batch)
    except Stopped as stopped:
        make = judges.refused if stopped.status is Status.REFUSED else judges.errored
        verdict = make(gate, str(stopped), batch=batch)
    waiver = run.policy.waiver(choices.facts(run, cell), gate, batch, run.capabilities[cell.target])
    if waiver is not None:
        late = run.settings.gate == "nightly"
        verdict = judges.apply_waiver(verdict, waiver, datetime.date.today(), late=late)
    return verdict


def _examined(run: Run, cell: Cell, part: str) -> dict[str, Any]:
    """One part of the examination; Stopped where that part raised."""
    found = run.engine.examined(cell)[part]
    if "error" in found:
        raise Stopped(Status.ERROR, f"examine: {found['error']}")
    return found


def _evidence(run: Run, cell: Cell, batch: None) -> Verdict:
    built = run.engine.artifact(cell)
    verdict = judges.judge_evidence(_claims(run, cell))
    one = choices.like(run, cell)
    extra = {"lossless": one.lossless, "stages": built.meta["stages"]}
    extra |= choices.told(run, cell, recording.cell_command)
    started = run.engine.examined(cell)["start"]
    if "error" not in started:
        extra |= started
    return dataclasses.replace(verdict, evidence={**verdict.evidence, **extra})


def _claims(run: Run, cell: Cell) -> dict[str, Any]:
    """Each claim's finding; where a last stage hides what an earlier one did, from before it."""
    told = dict(_examined(run, cell, "evidence")["claims"])
    hidden = [name for name, one in told.items() if one["numbers"].get("opaque")]
    if not hidden:
        return told
    for earlier in reversed(ablation.prefixes(run, choices.like(run, cell))):
        before = _examined(run, earlier, "evidence")["claims"]
        for name in [one for one in hidden if one in before]:
            if not before[name]["numbers"].get("opaque"):
                text = f"{before[name]['text']} (in {earlier.technique}, which it was made from)"
                told[name] = {**before[name], "text": text}
                hidden.remove(name)
    return told


def _reload(run: Run, cell: Cell, batch: None) -> Verdict:
    meta = run.engine.artifact(cell).meta
    terms = {key: meta[key] for key in ("batch", "tolerance", "tolerance_reason")}
    return judges.judge_reload({**_examined(run, cell, "reload"), **terms})


def _accuracy(run: Run, cell: Cell, batch: None) -> Verdict:
    measured = dict(_examined(run, cell, "accuracy"))
    # What is recommended keeps the accuracy by the model's general limit, not by one that a line in
    # the policy loosens for a technique that is known to lose.
    margin = run.policy.general("accuracy", cell.model)
    measured["extra"] = {**measured["extra"], "margin": margin}
    measured["tolerance"] = run.engine.artifact(cell).meta["tolerance"]
    verdict = judges.judge_accuracy(measured, run.limit(cell, "accuracy", None))
    verdict = _with_layer(run, cell, verdict)
    start = ablation.mean(measured["baseline"])
    return _by_stage(run, cell, verdict, lambda one: ablation.score(run, one), "score", start)


def _by_stage(
    run: Run,
    cell: Cell,
    verdict: Verdict,
    measure: ablation.Measure,
    what: str,
    start: float | None,
) -> Verdict:
    """The verdict with what every stage of a pipeline adds to it, in its evidence."""
    if len(cell.stages) < 2:
        return verdict
    found = ablation.stages(run, cell, measure, measure(cell))
    evidence = {**verdict.evidence, "ablation": {"what": what, "start": start, "stages": found}}
    return ablation.explained(dataclasses.replace(verdict, evidence=evidence), found, start=start)


def _fidelity(run: Run, cell: Cell, batch: None) -> Verdict:
    measured = {**_examined(run, cell, "fidelity"), "numerics": choices.like(run, cell).cls == "A"}
    verdict = judges.judge_fidelity(measured, run.limit(cell, "fidelity", None))
    return _with_layer(run, cell, verdict)


def _with_layer(run: Run, cell: Cell, verdict: Verdict) -> Verdict:
    """A lost verdict with the layer that adds most noise, where a stage's notes tell it."""
    if verdict.status not in (Status.FAIL, Status.INCONCLUSIVE):
        return verdict
    for stage in run.engine.artifact(cell).meta["stages"]:
        # The worst comes first. What hands on the noise it got, or adds little, is no cause.
        for layer, (before, after) in list((stage["notes"].get("noise") or {}).items())[:1]:
            if after < min(before - 1, HEARD):
                told = (
                    f"{layer} adds most of {stage['technique']}'s noise"
                    f" ({before:.0f} dB before it, {after:.0f} dB after it)"
                )
                return dataclasses.replace(verdict, reason=f"{verdict.reason}; {told}")
    return verdict


def _size(run: Run, cell: Cell, batch: None) -> Verdict:
    artifact = run.engine.artifact(cell)
    baseline = run.engine.baseline(cell.model, cell.target).weights.meta["files"]
    measured = {
        "baseline_bytes": sum(baseline.values()),
        "candidate_bytes": sum(artifact.meta["files"].values()),
        "files": artifact.meta["files"],
    }
    verdict = judges.judge_size(measured, run.limit(cell, "size", None))
    start = float(measured["baseline_bytes"])
    return _by_stage(run, cell, verdict, lambda one: ablation.size(run, one), "bytes", start)


def _memory(run: Run, cell: Cell, batch: int) -> Verdict:
    """One process an arm; a failure counts when the medians of three processes fail as well."""
    run.engine.examined(cell)
    only = run.engine.artifact(cell).meta["batch"]
    if only not in (None, batch):
        raise Stopped(Status.REFUSED, f"the artifact accepts batch {only} only")
    verdict = _memory_of(run, cell, batch, 1)
    return verdict if verdict.status is not Status.FAIL else _memory_of(run, cell, batch, 3)


def _memory_of(run: Run, cell: Cell, batch: int, processes: int) -> Verdict:
    arms = {}
    reason = None
    for arm in ("baseline", "candidate"):
        found = [
            run.engine.memory(cell, batch, number, candidate=arm == "candidate")
            for number in range(processes)
        ]
        reason = next((one["reason"] for one in found if one["reason"]), reason)
        arms[arm] = [one["bytes"] for one in found if one["bytes"] is not None]
    measured = {
        "baseline_bytes": statistics.median(arms["baseline"]) if arms["baseline"] else None,
        "candidate_bytes": statistics.median(arms["candidate"]) if arms["candidate"] else None,
        "reason": reason,
        "unavailable": not (arms["baseline"] and arms["candidate"]),
        "extra": {"processes": processes},
    }
    return judges.judge_memory(measured, run.limit(cell, "memory", batch), batch=batch)


def _speed(run: Run, cell: Cell, batch: int) -> Verdict:
    run.engine.examined(cell)
    run.settle()
    measured = times.measured(run, run.rounds, cell, batch)
    limit = run.limit(cell, "speed", batch)
    verdict = judges.judge_speed(measured, limit, run.rounds.looks, batch=batch)
    verdict = times.here(run, cell, verdict, f"batch {batch}")
    if batch != run.settings.batches[0]:
        return verdict
    return _by_stage(
        run, cell, verdict, lambda one: ablation.speed(run, one, batch), "speedup", 1.0
    )


def _regression(run: Run, cell: Cell, batch: None) -> Verdict:
    assert run.regressions is not None
    return run.regressions.judge(cell)


_GATES: dict[str, Callable[..., Verdict]] = {
    "evidence": _evidence,
    "reload": _reload,
    "accuracy": _accuracy,
    "fidelity": _fidelity,
    "size": _size,
    "speed": _speed,
    "memory": _memory,
    **training_verdicts.GATES,
    **edge_verdicts.GATES,
    **serving_verdicts.GATES,
    "regression": _regression,
}
