"""The small print of a cell's speed: processes, trend, latencies, energy, the machine meanwhile."""

from __future__ import annotations

from typing import Any

from reports import formats
from reports.plain import listing, mapping, number
from reports.records import Record

_ARMS = (("baseline", "FP32"), ("candidate", "optimised"))


def speed_lines(verdicts: list[Record]) -> list[str]:
    """What the speed verdicts say beside their ratio, batch by batch."""
    lines = []
    for verdict in verdicts:
        evidence = mapping(verdict.get("evidence"))
        if verdict["gate"] != "speed" or not listing(evidence.get("processes")):
            continue
        own = [_processes(evidence), *_latencies(verdict), *_energy(verdict, evidence)]
        if machine := _machine(evidence):
            own.append(machine)
        if repeated := evidence.get("repeated"):
            own.append(f"one process was measured again: {repeated}")
        lines += [f"batch {verdict.get('batch')}: {line}" for line in own]
    return lines


def _processes(evidence: Record) -> str:
    processes = listing(evidence.get("processes"))
    parts = [formats.count(len(processes), "process", "processes")]
    if confirming := listing(evidence.get("confirming")):
        parts.append(f"{len(confirming)} more to confirm")
    if (sigma := number(evidence.get("sigma"))) is not None:
        parts.append(f"SD between them {formats.PERCENT(sigma)}")
    if (trend := number(evidence.get("trend"))) is not None:
        steady = "" if evidence.get("steady") else " (not steady)"
        parts.append(f"drift of the ratio within one {100 * trend:+.1f} %{steady}")
    if (threads := number(evidence.get("threads"))) is not None:
        cpus = evidence.get("cpus")
        on = f" on CPU {cpus}" if cpus else ""
        parts.append(formats.count(int(threads), "thread") + on)
    if mapping(evidence.get("cache")).get("mode") == "cold":
        parts.append("caches emptied before every call")
    return ", ".join(parts)


def _latencies(verdict: Record) -> list[str]:
    lines = []
    for arm, name in _ARMS:
        found = mapping(mapping(verdict.get(arm)).get("latency"))
        parts = [_percentile(key, mapping(found.get(key))) for key in ("p50", "p90", "p99")]
        if known := [part for part in parts if part]:
            calls = formats.count(int(number(found.get("n")) or 0), "single call")
            lines.append(f"{name}, {calls}: " + ", ".join(known))
    return lines


def _percentile(name: str, found: dict[str, Any]) -> str | None:
    if not found:
        return None
    value, high = number(found.get("value")), number(found.get("high"))
    if value is None or high is None:
        return f"{name} {formats.ABSENT} ({found.get('reason') or 'no reason given'})"
    return f"{name} {formats.seconds(value)} (at most {formats.seconds(high)})"


def _energy(verdict: Record, evidence: Record) -> list[str]:
    told = mapping(evidence.get("energy"))
    if not told:
        return []
    joules = [number(mapping(verdict.get(arm)).get("joules")) for arm, _ in _ARMS]
    if None in joules:
        return [f"energy not measured: {told.get('reason') or 'no reason given'}"]
    parts = [f"{value:.3g} J" for value in joules]
    return [f"energy of a call {' → '.join(parts)} ({told.get('source')}, idle power included)"]


def _machine(evidence: Record) -> str:
    """What disturbed: counts over the processes, and the worst of shares and loads."""
    seen = [mapping(one) for one in listing(evidence.get("machine"))]
    parts = []
    outliers = mapping(evidence.get("outliers"))
    counts = [number(outliers.get(arm)) for arm, _ in _ARMS]
    if None not in counts:
        both = " and ".join(f"{int(count or 0)}" for count in counts)
        parts.append(f"segments far out {both} (kept)")
    for key, text in (("steal", "stolen time up to"), ("others", "other programs up to")):
        if values := _numbers(seen, key):
            parts.append(f"{text} {formats.PERCENT(max(values))} of a CPU")
    if loads := _numbers(seen, "load"):
        parts.append(f"load {min(loads):.1f} to {max(loads):.1f}")
    if switches := _numbers(seen, "involuntary_switches"):
        parts.append(
            formats.count(int(sum(switches)), "involuntary switch", "involuntary switches")
        )
    throttled = {
        name for one in seen for name in listing(mapping(one.get("device")).get("throttle"))
    }
    if throttled:
        parts.append("throttled by " + ", ".join(sorted(map(str, throttled))))
    return ", ".join(parts)


def _numbers(seen: list[dict[str, Any]], key: str) -> list[float]:
    return [value for one in seen if (value := number(one.get(key))) is not None]
