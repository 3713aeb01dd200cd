"""The claims `searched` and `within_budget`: what a search tried, and that it kept its budget."""

from __future__ import annotations

import json
from typing import Any

import torch

from gauge.evidence import auto
from gauge.evidence.base import Finding, Subject, claim, noted

ROUNDING = 1e-9
"""Scores are counts over samples, and one sample may be all that an error allows."""

NO_RECORD = Finding(False, "the artifact holds no record of a search", {"opaque": True})


@claim("searched")
def searched(subject: Subject) -> Finding:
    """As many different candidates as were asked for, and the reloaded module is the best of them.

    From the record in `artifact.json`: trials that repeat an architecture count once. Counted by
    gauge: the parameters of the reloaded module, which must be those of the chosen trial where no
    later stage changed it. No trial of the search within the limits is better than the one that was
    returned by more than one standard error, and none as near to the best is faster, or smaller
    where only a size was stated. Told beside it, not judged (one seed decides little): the best of
    what a search has to beat, which is chance with as many trials, and the hand-designed model
    scaled down.
    """
    pipelines = auto.record(subject)
    if pipelines is not None:
        return auto.searched(pipelines)
    record = _record(subject)
    if subject.module is None or record is None:
        return NO_RECORD
    search, trials = record["search"], record["search"]["trials"]
    different = _different(trials)
    wanted = min(search["asked"], search["candidates"])
    numbers = {"trials": different, "asked": wanted, "front": len(search["front"])}
    problems = []
    if different < wanted:
        problems.append(f"{wanted} different candidates were asked for")
    others = {name: one["trials"] for name, one in search["beside"].items()}
    if _different(others.get("chance", [])) < different:
        problems.append("chance had fewer trials")
    source, place = search["returned"]["of"], search["returned"]["trial"]
    among = {search["strategy"]: trials, **others}.get(source, [])
    if not 0 <= place < len(among):
        return Finding(False, f"trial {place} of {source} was returned, which is none", numbers)
    chosen = among[place]
    kept = [one for one in trials if _within(one, search["limits"])]
    better, told = _better(kept, chosen, search["samples"], record["budget"])
    if better or (kept and source != search["strategy"]):
        problems.append(f"{better} trials within the limits are better than {source}'s {place}")
    numbers["best"] = {
        name: max((one["right"] for one in tried if _within(one, search["limits"])), default=None)
        for name, tried in {search["strategy"]: trials, **others}.items()
    }
    numbers["parameters"] = sum(one.numel() for one in subject.module.parameters())
    if record["last"] and numbers["parameters"] != chosen["parameters"]:
        problems.append(
            f"the module has {numbers['parameters']:,} parameters, the chosen trial "
            f"{chosen['parameters']:,}"
        )
    best = ", ".join(
        f"{name} {'none' if right is None else f'{right:.2%}'}"
        for name, right in numbers["best"].items()
    )
    text = (
        f"{different} different candidates of {search['candidates']:,} tried by "
        f"{search['strategy']}, {len(search['front'])} on the front; "
        f"best within the limits: {best}"
    )
    if source == search["strategy"] and told:
        text += f"; returned is trial {place}, {told}"
    if source != search["strategy"]:
        text += f"; returned is trial {place} of {source}"
    return Finding(not problems, "; ".join([text, *problems]), numbers)


def _better(
    kept: list[dict[str, Any]], chosen: dict[str, Any], samples: int, budget: dict[str, Any]
) -> tuple[int, str]:
    """How many of the trials within the limits should have been returned instead; what was traded.

    The one-standard-error rule (Breiman and others, 1984): of those within one standard error of
    the best score, the one that costs least. The error is that of a share, at least one sample's.
    """
    if not kept:
        return 0, ""
    alone = budget.get("size_mb") is not None and budget.get("latency_ms") is None
    by, word, unit = ("bytes", "smaller", "B") if alone else ("latency_ms", "faster", "ms")
    top = max(kept, key=lambda one: (one["right"], -one[by]))
    error = max((max(top["right"] * (1 - top["right"]), 0.0) / samples) ** 0.5, 1 / samples)
    least = top["right"] - error - ROUNDING
    near = [one for one in kept if one["right"] >= least]
    if chosen["right"] < least:
        return len(near), ""
    if chosen["right"] == top["right"]:
        return sum(one[by] < chosen[by] for one in near), ""
    told = (
        f"{chosen['right']:.2%}: within one standard error ({100 * error:.2f} points) of the best, "
        f"{top['right']:.2%}, and {word} ({chosen[by]:.4g} {unit} against {top[by]:.4g} {unit})"
    )
    return sum(one[by] < chosen[by] for one in near), told


def _different(trials: list[dict[str, Any]]) -> int:
    return len({json.dumps(one["choice"], sort_keys=True) for one in trials})


@claim("within_budget")
def within_budget(subject: Subject) -> Finding:
    """What the user allowed: bytes counted by gauge, latency as the search measured it at the end.

    Latency is the search's own measurement on the target, since nothing is timed while evidence is
    counted; how fast the artifact is otherwise is for the speed gates to say.
    """
    record = _record(subject)
    if subject.module is None or record is None:
        return NO_RECORD
    budget = record["budget"]
    state = subject.module.state_dict().values()
    size = sum(one.numel() * one.element_size() for one in state if isinstance(one, torch.Tensor))
    latency, error = budget["latency_measured_ms"], budget["latency_error"]
    sides = {
        "latency": (latency, budget.get("latency_ms"), "ms", f" ± {error:.1%}"),
        "size": (size / 1e6, budget.get("size_mb"), "MB", ""),
    }
    stated = {name: side for name, side in sides.items() if side[1] is not None}
    numbers: dict[str, Any] = {"bytes": size, "latency_ms": latency, "over": {}}
    if not stated:
        return Finding(True, "no budget was stated", numbers)
    parts = []
    for name, (value, most, unit, apart) in stated.items():
        part = f"{name} {value:.4g} {unit}{apart} of {most:.4g} {unit}"
        share = value / most - 1
        if not share <= 0:
            numbers["over"][name] = share
            part += f", over it by {share:.1%}"
        parts.append(part)
    text = "; ".join(parts)
    if numbers["over"]:
        text += ": the closest candidate of the search"
    return Finding(not numbers["over"], text, numbers)


def _within(trial: dict[str, Any], limits: dict[str, Any]) -> bool:
    """Whether a trial keeps the limits, the error of its latency counted in."""
    sides = (
        (trial["latency_ms"] * (1 + trial["latency_error"]), limits.get("latency_ms")),
        (trial["bytes"] / 1e6, limits.get("size_mb")),
    )
    return all(most is None or value <= most for value, most in sides)


def _record(subject: Subject) -> dict[str, Any] | None:
    """Notes of the stage that searched, from the artifact's own description."""
    found = noted(subject, "search", "budget")
    return found and {**found["notes"], "last": found["last"]}
