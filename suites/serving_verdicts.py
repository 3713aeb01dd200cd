"""From loads to the verdicts of suites/test_realtime.py and test_cloud.py."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gauge import judge_cloud
from gauge import judge_serving as judges
from gauge.serving.loadgen import MLPERF_SECONDS
from gauge.verdict import Status, Verdict
from suites.matrix import Cell

if TYPE_CHECKING:
    from suites.run import Run


def _extra(run: Run, cell: Cell, first: dict[str, Any]) -> dict[str, Any]:
    """How a load was measured, for a verdict's evidence."""
    keys = ("own_cpu", "deadline_s", "least_seconds", "samples", "machine")
    return {
        **{key: first[key] for key in keys},
        "mlperf_seconds": MLPERF_SECONDS,
        "processes": run.serving.effort.processes,
        "overhead": run.serving.overhead(cell),
        "logs": f"load/{cell.id}",
    }


def _answers(suite: str) -> Callable[[Run, Cell, None], Verdict]:
    def judge(run: Run, cell: Cell, batch: None) -> Verdict:
        found = run.serving.answers(cell, suite)
        measured = {**found, "tolerance": run.engine.artifact(cell).meta["tolerance"]}
        limit = run.limit(cell, "accuracy", None)
        return judges.judge_answers(f"{suite}_answers", measured, limit)

    return judge


def _latency(run: Run, cell: Cell, batch: None) -> Verdict:
    first = run.serving.realtime(cell)
    measured = {
        "run": first["single"],
        "deadline_s": first["deadline_s"],
        "nearest": first["search"]["nearest"],
        "extra": {"multi_stream": first["multi"], **_extra(run, cell, first)},
    }
    return judges.judge_latency(measured, run.limit(cell, "realtime_latency", None))


def _rate(run: Run, cell: Cell, batch: None) -> Verdict:
    base = run.serving.baseline(cell)
    first = run.serving.realtime(cell)
    before = first if base == cell else run.serving.realtime(base)
    measured = {
        "baseline": run.serving.runs(base, "realtime"),
        "candidate": run.serving.runs(cell, "realtime"),
        "same": base == cell,
        "deadline_s": first["deadline_s"],
        "nearest": first["search"]["nearest"],
        "what": "queries a second",
        "extra": {
            "search": first["search"],
            "baseline_search": before["search"],
            "batch_1": first["batch_1"],
            **_extra(run, cell, first),
        },
    }
    return _held(run, cell, "realtime_rate", "realtime", measured)


def _held(run: Run, cell: Cell, gate: str, what: str, measured: dict[str, Any]) -> Verdict:
    """The verdict on rates; a FAIL once more by fresh processes, both sides in turns."""
    judge = judge_cloud.judge_cost if gate == "cloud_cost" else functools.partial(_rates, gate)
    limit = run.limit(cell, gate, None)
    found = judge(measured, limit)
    if found.status is not Status.FAIL or found.value is None:
        return found
    again = run.serving.again(run.serving.baseline(cell), cell, what)
    return judges.reproduced(found, judge({**measured, **again}, limit))


def _rates(gate: str, measured: dict[str, Any], limit: Any) -> Verdict:
    return judges.judge_rates(gate, measured, limit)


def _cloud(run: Run, cell: Cell, kind: str) -> dict[str, Any]:
    """Both sides' runs of the best layouts, as judge_rates takes them."""
    base = run.serving.baseline(cell)
    found = run.serving.cloud(cell)
    first = next(iter(found.values()))
    table = [
        {
            "instances": instances,
            "threads": threads,
            "rate": (one[kind] or {}).get("rate"),
            "valid": (one[kind] or {}).get("valid"),
        }
        for (instances, threads), one in found.items()
    ]
    return {
        "baseline": run.serving.runs(base, kind),
        "candidate": run.serving.runs(cell, kind),
        "same": base == cell,
        "deadline_s": first["deadline_s"],
        "nearest": min(
            (one["search"]["nearest"] for one in found.values()), key=lambda one: one["p99_s"]
        ),
        "what": "samples a second" if kind == "offline" else "queries a second",
        "extra": {"layouts": table, **_extra(run, cell, first)},
    }


def _offline(run: Run, cell: Cell, batch: None) -> Verdict:
    return _held(run, cell, "cloud_offline", "offline", _cloud(run, cell, "offline"))


def _server(run: Run, cell: Cell, batch: None) -> Verdict:
    return _held(run, cell, "cloud_server", "best", _cloud(run, cell, "best"))


def _cost(run: Run, cell: Cell, batch: None) -> Verdict:
    measured = {**_cloud(run, cell, "best"), "price": run.policy.price.as_dict()}
    return _held(run, cell, "cloud_cost", "best", measured)


def _fleets(run: Run, cell: Cell) -> dict[str, Any]:
    base = run.serving.baseline(cell)
    return {
        "baseline": run.serving.simulated(base),
        "candidate": run.serving.simulated(cell),
        "same": base == cell,
        "rates": [[one["rate"] for one in run.serving.runs(side, "best")] for side in (base, cell)],
        "price": run.policy.price.as_dict(),
        "extra": {"deadline_s": run.settings.deadline},
    }


def _fleet(run: Run, cell: Cell, batch: None) -> Verdict:
    return judge_cloud.judge_fleet(_fleets(run, cell), run.limit(cell, "cloud_fleet", None))


def _misses(run: Run, cell: Cell, batch: None) -> Verdict:
    return judge_cloud.judge_misses(_fleets(run, cell), run.limit(cell, "cloud_misses", None))


GATES: dict[str, Callable[[Run, Cell, None], Verdict]] = {
    "realtime_answers": _answers("realtime"),
    "realtime_latency": _latency,
    "realtime_rate": _rate,
    "cloud_answers": _answers("cloud"),
    "cloud_offline": _offline,
    "cloud_server": _server,
    "cloud_cost": _cost,
    "cloud_fleet": _fleet,
    "cloud_misses": _misses,
}
