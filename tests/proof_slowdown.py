"""Injected slowdowns: real extra work in the candidate, and limits a known way above its ratio."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import proof_neighbour
from proof_lab import MODELS, Gate, Lab, round_robin, sigma, usual
from proof_tables import cell, percent, seconds_text, share, table

from gauge.sequential import LOOKS
from suites.rounds import Track

Line = dict[str, Any]
NAME = "slowdown"
FIRST = 150
SECONDS = 0.3
LANES = 6
SHARE = 0.06
NET = {"3 %": 0.03, "2 %": 0.02}
CLAIMED_SIGMA = {"3 %": 0.012, "2 %": 0.009}
BUSY = 0.25
"""CPUs that other programs than the proof's take, from which its machine is not left alone."""
BUSY_BESIDE = 0.9
"""The same where the proof's own neighbour runs, which takes 0.5 to 0.7."""
PILOT = 24
NOISY_EVERY = 4
SETTINGS = {
    "seconds": SECONDS,
    "lanes": LANES,
    "share": SHARE,
    "net": NET,
    "claimed_sigma": CLAIMED_SIGMA,
    "pilot": PILOT,
    "noisy_every": NOISY_EVERY,
    "models": list(MODELS),
    "looks": list(LOOKS),
    "neighbour": proof_neighbour.SETTINGS,
}


_CONDITIONS = {
    "claimed": "σ ≤ {} (goal ≥ 99 %)",
    "busy": "σ ≤ {}, beside other programs (reported, not claimed)",
    "noisier": "σ > {} (reported, not claimed)",
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
    pilot: int = PILOT,
) -> Iterator[Line]:
    """`count` gates, LANES at a time in turns; every NOISY_EVERY-th set beside the neighbour.

    A candidate's true ratio comes from `pilot` processes at the start of the sitting and all
    gates since; a gate's own processes never set its limits.
    """
    index = sum(one["what"] == "gate" for one in done)
    sets = len({one["set"] for one in done if one["what"] == "gate"})
    if index >= count or not go_on():
        return
    with open_lab() as lab:
        slowed = {model: lab.slowed(model, SHARE) for model in MODELS}
        known: dict[str, list[float]] = {model: [] for model in MODELS}
        for number in range(pilot):
            for model, (artifact, _) in slowed.items():
                found = lab.process(model, number, seed * 1_000_000, usual(seconds), artifact)
                known[model].append(found["log_ratio"])
        for model, values in known.items():
            yield _told("pilot", model, slowed[model][1]) | {
                "ratios": [round(value, 6) for value in values]
            }
        while index < count and go_on():
            gates = []
            for lane in range(index, min(index + LANES, count)):
                model = MODELS[lane % len(MODELS)]
                artifact = slowed[model][0]
                gates.append(_gate(seed * 1_000_000 + lane, model, artifact, known[model], looks))
            noisy = sets % NOISY_EVERY == NOISY_EVERY - 1
            with proof_neighbour.neighbour(noisy) as where:
                round_robin(lab, gates, seconds)
            for gate in gates:
                known[gate.model] += gate.ratios()
                yield {
                    **_told("gate", gate.model, slowed[gate.model][1]),
                    **gate.line(),
                    "set": sets,
                    "neighbour": where,
                }
            index += len(gates)
            sets += 1


def _told(what: str, model: str, products: int) -> Line:
    return {"what": what, "model": model, "products": products}


def _gate(
    index: int, model: str, artifact: Path, known: Sequence[float], looks: Sequence[int]
) -> Gate:
    """Limits so far above the candidate's true ratio as the slowdown is to be beyond the limit."""
    truth = math.exp(statistics.fmean(known))
    tracks = {name: Track(1, truth * (1 + net), looks) for name, net in NET.items()}
    return Gate(index, model, tracks, artifact)


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """How many slowdowns were found, by how noisy the other gates of the same set were."""
    gates = [one for one in lines if one["what"] == "gate"]
    for one in gates:
        beside = [
            other for other in gates if _set(other) == _set(one) and other["index"] != one["index"]
        ]
        # A gate's own SD would choose lucky gates: small by chance, and so easily found.
        one["condition_sigma"] = sigma(beside)
    found: dict[str, Any] = {
        "gates": len(gates),
        "candidates": _candidates(lines),
        "seconds_median": statistics.median(one["seconds"] for one in gates) if gates else None,
        "seconds_total": sum(one["seconds"] for one in gates),
        "sigma_pooled": sigma(gates),
    }
    for name, most in CLAIMED_SIGMA.items():
        known = [one for one in gates if one["condition_sigma"] is not None]
        calm = [one for one in known if one["condition_sigma"] <= most]
        found[name] = {
            "claimed": _found([one for one in calm if not _busy(one)], name),
            "busy": _found([one for one in calm if _busy(one)], name),
            "noisier": _found([one for one in known if one["condition_sigma"] > most], name),
        }
    return found


def _busy(gate: Line) -> bool:
    """Whether programs that are no part of the proof ran beside most of a gate's processes."""
    return (gate["others"] or 0.0) > (BUSY_BESIDE if gate["neighbour"] else BUSY)


def _set(line: Line) -> tuple[int, int]:
    return line.get("sitting", 0), line["set"]


def _found(lines: Sequence[Line], name: str) -> dict[str, Any]:
    def rate(key: str, status: str) -> dict[str, Any]:
        count = sum(one["verdicts"][name][key] == status for one in lines)
        return share(count, len(lines))

    return {
        "found": rate("status", "FAIL"),
        "found_first_run": rate("first", "FAIL"),
        "passed": rate("status", "PASS"),
        "sigma_pooled": sigma(lines),
    }


def _candidates(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Each candidate's ratio by all its processes, and how far its gates' limits were from it."""
    told = []
    for key in sorted({(one.get("sitting", 0), one["model"], one["products"]) for one in lines}):
        some = [o for o in lines if (o.get("sitting", 0), o["model"], o["products"]) == key]
        values = [value for one in some for value in one["ratios"]]
        truth = math.exp(statistics.fmean(values))
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        limits = {
            name: [one["verdicts"][name]["limit"] / truth - 1 for one in some if "verdicts" in one]
            for name in NET
        }
        told.append(
            {
                "sitting": key[0],
                "model": key[1],
                "products": key[2],
                "processes": len(values),
                "ratio": truth,
                "standard_error": error,
                "net": {n: [min(v), max(v)] if v else None for n, v in limits.items()},
            }
        )
    return told


def page(found: dict[str, Any]) -> list[str]:
    """The piece's part of docs/proof.md."""
    rows = []
    for name, most in CLAIMED_SIGMA.items():
        for key, condition in _CONDITIONS.items():
            one = found[name][key]
            rows.append(
                [
                    f"{name} beyond the limit, {condition.format(percent(most, 1))}",
                    cell(one["found"]),
                    cell(one["found_first_run"]),
                    cell(one["passed"]),
                ]
            )
    candidates = [
        [
            f"{one['model']} + {one['products']} products",
            f"{one['ratio']:.4f} ± {percent(one['standard_error'])}",
            str(one["processes"]),
            *(_range(one["net"][name]) for name in NET),
        ]
        for one in found["candidates"]
    ]
    return [
        "## Injected slowdowns",
        "",
        "The candidate multiplies small matrices before each answer, about 6 % of the model's time."
        " Its true ratio is measured by processes other than the gate's own, and the gate's limits"
        " lie 3 % and 2 % above it, so the slowdown beyond the limit is real work. Found is a FAIL"
        " that a fresh run confirmed. σ is that of the other gates timed in the same minutes, not"
        " the gate's own, which would choose lucky gates. Where programs that are no part of the"
        " proof take more than a quarter of a CPU, single processes are off by 5 to 15 % now and"
        " then, of which the σ of other gates tells nothing: rows of their own.",
        "",
        *table(["slowdown", "found", "FAIL in the first run", "PASS"], rows),
        "",
        f"Pooled σ {percent(found['sigma_pooled'])}; a gate took"
        f" {seconds_text(found['seconds_median'])} (median), all {found['gates']} took"
        f" {seconds_text(found['seconds_total'])}.",
        "",
        *table(
            ["candidate", "true ratio", "processes", *(f"limits for {name}" for name in NET)],
            candidates,
        ),
    ]


def _range(values: Sequence[float] | None) -> str:
    return f"{percent(values[0])} to {percent(values[1])} above" if values else "none"
