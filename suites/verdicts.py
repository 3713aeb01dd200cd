"""From what was measured of a cell to the verdict of one of its gates."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gauge import judge as judges
from gauge.verdict import Status, Verdict
from suites import ablation, edge_verdicts, serving_verdicts
from suites.engine import Stopped
from suites.matrix import Cell

if TYPE_CHECKING:
    from suites.run import Run

MOST_SAMPLES = 200
HEARD = 30.0
"""dB: noise of less than a thousandth of a layer's power changes few answers."""


def judge(run: Run, cell: Cell, gate: str, batch: int | None) -> Verdict:
    """Measure what the gate asks (unless it has been), hold it to the policy, apply waivers."""
    try:
        verdict = _GATES[gate](run, cell, batch)
    except Stopped as stopped:
        make = judges.refused if stopped.status is Status.REFUSED else judges.errored
        verdict = make(gate, str(stopped), batch=batch)
    waiver = run.policy.waiver(cell.facts, gate, batch, run.capabilities[cell.target])
    if waiver is not None:
        verdict = judges.apply_waiver(verdict, waiver, datetime.date.today())
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
    extra = {"lossless": cell.lossless, "stages": built.meta["stages"]}
    started = run.engine.examined(cell)["start"]
    if "error" not in started:
        extra |= started
    return dataclasses.replace(verdict, evidence={**verdict.evidence, **extra})


def _claims(run: Run, cell: Cell) -> dict[str, Any]:
    """Each claim's finding; where a last stage hides what an earlier one did, from before it."""
    found = dict(_examined(run, cell, "evidence")["claims"])
    hidden = [name for name, one in found.items() if one["numbers"].get("opaque")]
    if not hidden:
        return found
    for earlier in reversed(ablation.prefixes(run, cell)):
        before = _examined(run, earlier, "evidence")["claims"]
        for name in [one for one in hidden if one in before]:
            if not before[name]["numbers"].get("opaque"):
                text = f"{before[name]['text']} (in {earlier.technique}, which it was made from)"
                found[name] = {**before[name], "text": text}
                hidden.remove(name)
    return found


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
    measured = {**_examined(run, cell, "fidelity"), "numerics": cell.facts.cls == "A"}
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
    track = run.rounds.until(cell, batch)
    if track.stopped:
        raise track.stopped
    first, confirming = track.deciding()
    every = [*first, *(confirming or ())]
    arms = ("baseline", "candidate")
    measured = {
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
            "repeated": run.rounds.lanes[cell.id, False].repeated,
            "settled": sum(process["warmup"]["settled"] for process in every),
            "candidate_first": [process["settings"]["candidate_first"] for process in every],
            **({key: every[0]["settings"][key] for key in ("cpus", "cache")} if every else {}),
        },
    }
    limit = run.limit(cell, "speed", batch)
    verdict = judges.judge_speed(measured, limit, run.rounds.looks, batch=batch)
    if verdict.status is Status.FAIL:
        flags = run.capabilities[cell.target]
        shape = f"batch {batch}"
        verdict = dataclasses.replace(
            verdict, reason=f"{verdict.reason}; {shape}; CPU flags {' '.join(flags) or 'none'}"
        )
    if batch != run.settings.batches[0]:
        return verdict
    return _by_stage(
        run, cell, verdict, lambda one: ablation.speed(run, one, batch), "speedup", 1.0
    )


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


_GATES: dict[str, Callable[..., Verdict]] = {
    "evidence": _evidence,
    "reload": _reload,
    "accuracy": _accuracy,
    "fidelity": _fidelity,
    "size": _size,
    "speed": _speed,
    "memory": _memory,
    **edge_verdicts.GATES,
    **serving_verdicts.GATES,
}
