"""From what was measured of a cell to the verdicts of suites/test_edge.py."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gauge import roofline
from gauge.judge_edge import judge_edge
from gauge.percentiles import median_interval
from gauge.verdict import Status, Verdict
from suites.engine import Stopped
from suites.matrix import Cell

if TYPE_CHECKING:
    from suites.run import Run

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def number_format(claims: list[str], dtype: str) -> tuple[str, float]:
    """(format that layers compute in, bytes of a weight), by what the artifact claims.

    Claims are what the evidence gate holds it to. Weights in 4 bits count as a byte: how they are
    packed is the kernel's affair.
    """
    if "integer_kernels" in claims:
        return "int8", 1
    if "integer_weights" in claims:
        return dtype, 1
    return dtype, _BYTES[dtype]


def _judged(run: Run, cell: Cell, gate: str, measured: Mapping[str, Any]) -> Verdict:
    return judge_edge(gate, measured, run.limit(cell, gate, None))


def _artifact(run: Run, cell: Cell, batch: None) -> Verdict:
    entry = run.engine.artifact(cell)
    baseline = run.engine.baseline(cell.model, cell.target).weights.meta["files"]
    measured = {
        "value": sum(entry.meta["files"].values()),
        "baseline": sum(baseline.values()),
        "evidence": {"certified": run.certified.told(run, cell), "files": entry.meta["files"]},
    }
    return _judged(run, cell, "edge_artifact", measured)


def _installed(run: Run, cell: Cell, batch: None) -> Verdict:
    """The artifact's files and those of installed packages that its cold start had loaded."""
    started = run.edge.started(cell)
    if started["wrong"]:
        return _judged(run, cell, "edge_installed", started)
    arms = {}
    for arm in ("baseline", "candidate"):
        found = started[arm]
        arms[arm] = found["files"] + sum(found["loaded"]["packages"].values())
    new = started["candidate"]
    measured = {
        "value": arms["candidate"],
        "baseline": arms["baseline"],
        "evidence": {"runtime": new["runtime"], **new["loaded"], "artifact": new["files"]},
    }
    return _judged(run, cell, "edge_installed", measured)


def _memory(run: Run, cell: Cell, batch: None) -> Verdict:
    """The whole process: on a small device nothing else shares what a runtime takes."""
    return _of_starts(run, cell, "edge_memory", "peak_bytes")


def _cold_start(run: Run, cell: Cell, batch: None) -> Verdict:
    return _of_starts(run, cell, "edge_cold_start", "seconds")


def _of_starts(run: Run, cell: Cell, gate: str, key: str) -> Verdict:
    started = run.edge.started(cell)
    if started["wrong"]:
        return _judged(run, cell, gate, started)
    new, old = started["candidate"][key], started["baseline"][key]
    low, high, coverage = median_interval(new)
    ratios = [before / after for before, after in zip(old, new, strict=True)]
    least, most, _ = median_interval(ratios)
    ratio = {"value": statistics.median(ratios), "low": least, "high": most}
    measured = {
        "value": statistics.median(new),
        "low": low,
        "high": high,
        "baseline": statistics.median(old),
        "evidence": {
            "starts": len(new),
            "coverage": coverage,
            "ratio": ratio,
            "samples": {"baseline": old, "candidate": new},
            "runtime": started["candidate"]["runtime"],
        },
    }
    return _judged(run, cell, gate, measured)


def _counted(run: Run, cell: Cell) -> tuple[dict[str, Any], dict[str, Any]]:
    return run.edge.counted(cell, candidate=True), run.edge.counted(cell, candidate=False)


def _parameters(run: Run, cell: Cell, batch: None) -> Verdict:
    return _of_counts(run, cell, "edge_parameters", "parameters")


def _macs(run: Run, cell: Cell, batch: None) -> Verdict:
    return _of_counts(run, cell, "edge_macs", "macs")


def _of_counts(run: Run, cell: Cell, gate: str, key: str) -> Verdict:
    new, old = _counted(run, cell)
    measured = {
        "value": new.get(key),
        "reason": new["reason"],
        "baseline": old.get(key),
        "evidence": {"batch": run.edge.batch(cell)},
    }
    return _judged(run, cell, gate, measured)


def _moved(run: Run, cell: Cell) -> dict[str, Any]:
    """What a call of either side moves and multiplies, and in which format."""
    meta = run.engine.artifact(cell).meta
    target = run.catalog.targets[cell.target].attributes["dtype"]
    form, weight = number_format(meta["claims"], target)
    new, old = _counted(run, cell)
    return {
        "format": form,
        "reason": new["reason"],
        "traffic": None if new["reason"] else _traffic(new, weight, _BYTES[form]),
        "flops": None if new["reason"] else 2 * new["macs"],
        "baseline_traffic": _traffic(old, 4, 4),
        "baseline_flops": 2 * old["macs"],
    }


def _traffic(count: Mapping[str, Any], weight: float, activation: float) -> float:
    return count["weights"] * weight + count["activations"] * activation


def _bytes_moved(run: Run, cell: Cell, batch: None) -> Verdict:
    moved = _moved(run, cell)
    known = moved["traffic"] is not None and moved["traffic"] > 0
    measured = {
        "value": moved["traffic"],
        "reason": moved["reason"],
        "baseline": moved["baseline_traffic"],
        "evidence": {
            "format": moved["format"],
            "intensity": moved["flops"] / moved["traffic"] if known else None,
            "batch": run.edge.batch(cell),
        },
    }
    return _judged(run, cell, "edge_traffic", measured)


def _roofline(run: Run, cell: Cell, batch: None) -> Verdict:
    """Share of the attainable FLOP/s, from the median call of each process that timed it."""
    moved, processes = _moved(run, cell), _timed(run, cell)
    machine = run.edge.machine(cell.target)
    roof = base = None
    if not moved["reason"]:
        roof = roofline.roof(machine, moved["format"], moved["flops"], moved["traffic"])
        base = roofline.roof(machine, "float32", moved["baseline_flops"], moved["baseline_traffic"])
    if roof is None or base is None:
        lacks = machine["reasons"].get(moved["format"], "no products were counted in a call")
        reason = moved["reason"] or f"no peak of {moved['format']} here: {lacks}"
        return _judged(run, cell, "edge_roofline", {"reason": reason})
    new, old = (_medians(processes, arm) for arm in ("candidate", "baseline"))
    shares = sorted(moved["flops"] / one / roof["attainable"] for one in new)
    slow, fast = statistics.median(new), statistics.median(old)
    measured = {
        "value": statistics.median(shares),
        "low": shares[0],
        "high": shares[-1],
        "baseline": moved["baseline_flops"] / fast / base["attainable"],
        "evidence": {
            "format": moved["format"],
            "roof": roof,
            "median_s": slow,
            "flops_per_s": moved["flops"] / slow,
            "baseline": {
                "roof": base,
                "median_s": fast,
                "flops_per_s": moved["baseline_flops"] / fast,
            },
            "machine": machine,
            "processes": len(processes),
            "threads": run.settings.threads.count,
        },
    }
    return _judged(run, cell, "edge_roofline", measured)


def _timed(run: Run, cell: Cell) -> list[dict[str, Any]]:
    """The processes that timed a call; Stopped where what they saw does not count."""
    found = run.edge.timed(cell)
    for one in found:
        if one.get("refused"):
            raise Stopped(Status.REFUSED, one["refused"])
        if one.get("invalid"):
            raise Stopped(Status.ERROR, f"invalid: {one['invalid']}")
    return found


def _medians(processes: list[dict[str, Any]], arm: str) -> list[float]:
    return [statistics.median(one[f"{arm}_samples"]) for one in processes]


def _energy(run: Run, cell: Cell, batch: None) -> Verdict:
    processes = _timed(run, cell)
    told = [one for one in processes if one["energy"]["source"] is not None]
    if not told:
        reason = next(one["energy"]["reason"] for one in processes)
        return _judged(run, cell, "edge_energy", {"reason": reason})
    joules = {arm: [one[arm]["joules"] for one in told] for arm in ("baseline", "candidate")}
    measured = {
        "value": statistics.median(joules["candidate"]),
        "low": min(joules["candidate"]),
        "high": max(joules["candidate"]),
        "baseline": statistics.median(joules["baseline"]),
        "evidence": {"source": told[0]["energy"]["source"], "processes": len(told)},
    }
    return _judged(run, cell, "edge_energy", measured)


GATES: dict[str, Callable[..., Verdict]] = {
    "edge_artifact": _artifact,
    "edge_installed": _installed,
    "edge_memory": _memory,
    "edge_parameters": _parameters,
    "edge_macs": _macs,
    "edge_traffic": _bytes_moved,
    "edge_roofline": _roofline,
    "edge_cold_start": _cold_start,
    "edge_energy": _energy,
}
