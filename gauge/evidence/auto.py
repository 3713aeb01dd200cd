"""The claim `within_goal`, and what `searched` means of a search for a pipeline."""

from __future__ import annotations

import json
import math
from typing import Any

from gauge.evidence.base import Finding, Subject, claim

Record = dict[str, Any]
PASSES = "passes"


def record(subject: Subject) -> Record | None:
    """{search, goal, found}: the notes of the stage that chose a pipeline, and what it chose.

    None where no such stage made the artifact.
    """
    stages = list(subject.stages)
    for index, stage in enumerate(stages):
        notes = stage.get("notes", {})
        if notes.get("search", {}).get("kind") == "pipelines":
            found = [[one["technique"], one["params"]] for one in stages[index + 1 :]]
            return {**notes, "found": found, "bytes": _bytes(subject)}
    return None


def _bytes(subject: Subject) -> int:
    return sum(one.stat().st_size for one in subject.directory.rglob("*") if one.is_file())


def searched(told: Record) -> Finding:
    """Different pipelines were tried, what was made is the chosen one, and none was better.

    Better is a trial that keeps the goal and costs less than the chosen one by both intervals, or
    any that keeps it where the chosen one does not.
    """
    search, goal = told["search"], told["goal"]
    trials = search["trials"]
    made = [one for one in trials if one["status"] not in ("skipped", "refused")]
    different = len({json.dumps(one["stages"], sort_keys=True) for one in trials})
    good = [one for one in trials if one["status"] == PASSES]
    numbers = {"trials": len(made), "listed": len(trials), "passing": len(good)}
    text = (
        f"{len(made)} pipelines tried of {different} listed, {len(good)} good enough, on "
        f"{search['samples']} samples ({search['validation']})"
    )
    if not 0 <= search["chosen"] < len(trials):
        return Finding(False, f"trial {search['chosen']} was chosen, of {len(trials)}", numbers)
    chosen = trials[search["chosen"]]
    problems = []
    if different < len(trials):
        problems.append(f"{len(trials) - different} trials repeat others")
    if told["found"] != chosen.get("made", chosen["stages"]):
        problems.append(f"what was made is not the chosen {chosen['pipeline']}")
    if good and chosen["status"] != PASSES:
        problems.append(f"the chosen one is not good enough, and {len(good)} are")
    field = goal["field"]
    compared = {one["trial"]: one for one in search["compared"]}
    for number, one in enumerate(trials):
        if one["status"] == PASSES and number != search["chosen"]:
            both = (number, search["chosen"])
            # What was compared in the end was measured for longer, and in turns.
            source = compared if all(n in compared for n in both) else dict(enumerate(trials))
            sides = [source[n] for n in both]
            if _bounds(sides[0], field)[1] < _bounds(sides[1], field)[0]:
                problems.append(f"{one['pipeline']} is good enough and better than the chosen one")
    return Finding(not problems, "; ".join([text, *problems[:3]]), numbers)


def _bounds(trial: Record, field: str) -> tuple[float, float]:
    value = trial.get(field)
    if value is None:
        return math.inf, math.inf
    error = 1 + trial.get(f"{field}_error", 0.0)
    return value / error, value * error


@claim("within_goal")
def within_goal(subject: Subject) -> Finding:
    """The chosen pipeline keeps the drop on the search's own samples, and the budgets.

    Bytes are counted by gauge. What the drop is on samples that nothing has seen is for the
    accuracy gate to say, how fast it is for the speed gates.
    """
    told = record(subject)
    if told is None or not 0 <= told["search"]["chosen"] < len(told["search"]["trials"]):
        return Finding(False, "the artifact holds no record of a search", {})
    goal, chosen = told["goal"], told["search"]["trials"][told["search"]["chosen"]]
    drop, error = chosen.get("drop"), chosen.get("drop_error")
    sides = [(told["bytes"] / 1e6, goal["size_mb"], "size", "MB")]
    latency = chosen.get("latency_ms")
    if goal["latency_ms"] is not None and latency is not None:
        slowest = latency * (1 + chosen["latency_ms_error"])
        sides.append((slowest, goal["latency_ms"], "latency", "ms"))
    if drop is None:
        return Finding(False, f"{chosen['pipeline']} has no score: {chosen['reason']}", {})
    parts, over = [], {}
    apart = "" if error is None else f" ± {100 * error:.2f}"
    part = (
        f"drop of {100 * drop:.2f}{apart} points on validation, which counts as "
        f"{100 * chosen['drop_high']:.2f}, {100 * goal['max_drop']:g} allowed"
    )
    beyond = chosen["drop_high"] - goal["max_drop"]
    if not beyond <= 0:
        over["drop"] = beyond
        part += f": over it by {100 * beyond:.2f}"
    parts.append(part)
    for value, limit, name, unit in sides:
        if limit is None:
            continue
        part = f"{name} {value:.4g} {unit} of {limit:.4g} {unit}"
        share = value / limit - 1
        if not share <= 0:
            over[name] = share
            part += f": over it by {share:.1%}"
        parts.append(part)
    speed, wanted = chosen.get("speed"), goal.get("speed")
    if wanted is not None and speed is not None:
        # By the slow end of the interval, as a latency.
        part = f"{speed:.3g}x as fast as FP32, {wanted:g}x wanted"
        share = wanted * (1 + chosen["latency_ms_error"]) / speed - 1
        if not share <= 0:
            over["speed"] = share
            part += f": slower by {share:.1%}"
        parts.append(part)
    if (sample := chosen.get("sample_ms")) is not None:
        size = chosen["batch"]
        each = 1e3 / sample
        rate = f"{each:,.0f}" if each >= 100 else f"{each:.3g}"
        parts.append(f"{rate} samples a second in batches of {size}, {size * sample:.3g} ms each")
    if latency is None and (goal["latency_ms"] is not None or wanted is not None):
        over["latency"] = math.inf
        parts.append("latency was not measured")
    text = "; ".join(parts)
    if over:
        text += f"; {chosen['pipeline']} is the closest of the search"
    kept = {name: value for name, value in over.items() if math.isfinite(value)}
    return Finding(not over, text, {"drop": drop, "bytes": told["bytes"], "over": kept})
