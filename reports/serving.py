"""What loads tell of a cell in words: latencies, policies, rates, money, the simulated fleet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reports import formats
from reports.cells import Cell
from reports.plain import listing, mapping, number
from reports.records import Record

SIMULATED = "simulated"


def evidence(cell: Cell, gate: str) -> dict[str, Any]:
    """What a gate recorded beside its number."""
    return mapping(mapping(cell.gate(gate)).get("evidence"))


def arm(cell: Cell, gate: str, side: str = "candidate") -> dict[str, Any]:
    """What a gate recorded of one side."""
    return mapping(mapping(cell.gate(gate)).get(side))


def rate(value: Any) -> str:
    """A rate in three digits, or "not available"."""
    found = number(value)
    if found is None:
        return formats.ABSENT
    told = formats.whole(round(float(f"{found:.3g}"))) if found >= 1000 else f"{found:.3g}"
    return f"{told} a second"


def policy(found: Record) -> str:
    """A batching policy in words; empty where there is none."""
    size, wait = number(found.get("largest_batch")), number(found.get("wait_ms"))
    if size is None:
        return ""
    waits = f"a wait of up to {wait:g} ms" if wait else "no wait"
    return f"batches of up to {size:g}, {waits}"


def realtime_lines(cell: Cell) -> list[str]:
    """Latency one by one and in groups, batch 1 against the best policy, LoadGen's overhead."""
    told = evidence(cell, "realtime_latency")
    lines = []
    alone = arm(cell, "realtime_latency")
    if (deadline := number(told.get("deadline_s"))) is not None and alone:
        lines.append(f"one query after the other, {_percentiles(alone)}")
        lines.append(f"deadline {formats.seconds(deadline)}")
    multi = mapping(told.get("multi_stream"))
    if number(multi.get("p50_s")) is not None:
        lines.append(f"8 samples a query (MultiStream), {_percentiles(multi)}")
    rated = evidence(cell, "realtime_rate")
    one, best = mapping(rated.get("batch_1")), arm(cell, "realtime_rate")
    if number(best.get("rate")) is not None:
        against = f"batch 1: {rate(one.get('rate'))}; " if one else ""
        lines.append(f"within the deadline, {against}{policy(best)}: {rate(best['rate'])}")
    return lines + _how(told or rated)


def cloud_lines(cell: Cell) -> list[str]:
    """Rates by instances and threads, money, and what was simulated."""
    lines = []
    for gate, name in (("cloud_offline", "all at once"), ("cloud_server", "at the objective")):
        table = listing(evidence(cell, gate).get("layouts"))
        told = [_layout(mapping(one)) for one in table]
        if told:
            lines.append(f"{name}, instances × threads: {', '.join(told)}")
    costs = [number(arm(cell, "cloud_cost", side).get("cost_per_million")) for side in _SIDES]
    price = mapping(evidence(cell, "cloud_cost").get("price"))
    if costs[1] is not None:
        example = " (an example price)" if price.get("example") else ""
        fp32 = "" if costs[0] is None else f", FP32 {costs[0]:.3g}"
        lines.append(f"a million inferences: {costs[1]:.3g} {price.get('currency')}{fp32}{example}")
    lines += _fleet(cell)
    return lines + _how(evidence(cell, "cloud_server"))


_SIDES = ("baseline", "candidate")


def _fleet(cell: Cell) -> list[str]:
    found, before = arm(cell, "cloud_fleet"), arm(cell, "cloud_fleet", "baseline")
    if number(found.get("replica_hours")) is None:
        return []
    queries = formats.whole(number(found.get("queries")))
    parts = [
        f"{SIMULATED} over {found.get('trace')}: {queries} queries",
        f"{number(found.get('mean_replicas')) or 0:.2f} replicas on average, "
        f"{found.get('most_replicas')} at most",
        f"{formats.PERCENT(number(found.get('misses')))} miss the objective",
        f"p99 {formats.seconds(number(found.get('p99_s')))}",
    ]
    if (cold := number(found.get("cold_start_s"))) is not None:
        parts.append(f"cold start {formats.seconds(cold)} (measured, importing torch included)")
    if (other := number(before.get("mean_replicas"))) is not None:
        parts.append(f"FP32 {other:.2f} replicas")
    return [", ".join(parts)]


def _layout(one: Record) -> str:
    sure = "" if one.get("valid") else " (not valid)"
    return f"{one.get('instances')} × {one.get('threads')} {rate(one.get('rate'))}{sure}"


def _percentiles(found: Record) -> str:
    told = [
        f"{name} {formats.seconds(number(found.get(f'{name}_s')))}"
        for name in ("p50", "p90", "p99")
    ]
    if (bound := number(found.get("bound_s"))) is not None and bound > 0:
        told.append(f"p99 that early stopping vouches for {formats.seconds(bound)}")
    return ", ".join(told)


def overhead(cells: Iterable[Cell]) -> str:
    """What LoadGen itself takes of every latency of a run; empty without loads."""
    gates = ("realtime_latency", "realtime_rate", "cloud_offline", "cloud_server")
    return next(filter(None, (_overhead(evidence(c, g)) for c in cells for g in gates)), "")


def _overhead(told: Record) -> str:
    found = mapping(told.get("overhead"))
    alone, through = (mapping(found.get(key)) for key in ("loadgen", "server"))
    if number(alone.get("p50_s")) is None:
        return ""
    one, other = (
        f"p50 {formats.seconds(number(side.get('p50_s')))}, "
        f"p99 {formats.seconds(number(side.get('p99_s')))}"
        for side in (alone, through)
    )
    return (
        f"LoadGen's own overhead {one}; with the way to a server that does nothing {other}: "
        "every latency here holds at least that"
    )


def _how(told: Record) -> list[str]:
    """How it was measured: shorter than MLPerf asks, and what LoadGen itself costs."""
    seconds, asked = number(told.get("least_seconds")), number(told.get("mlperf_seconds"))
    if seconds is None or asked is None:
        return []
    own = "a CPU of its own" if told.get("own_cpu") else "no CPU of its own: it shares the server's"
    lines = [
        f"LoadGen runs of {seconds:g} s at least, where MLPerf asks for {asked:g} s (--effort), "
        f"{formats.count(int(number(told.get('processes')) or 0), 'process', 'processes')} a side; "
        f"LoadGen has {own}"
    ]
    machine = mapping(told.get("machine"))
    if (others := number(machine.get("others"))) is not None:
        lines.append(
            f"meanwhile other programs took {formats.PERCENT(others)} of a CPU, and "
            f"{formats.PERCENT(number(machine.get('steal')))} was stolen"
        )
    lines += filter(None, [_overhead(told)])
    if told.get("logs"):
        lines.append(f"LoadGen's logs: {told['logs']}")
    return lines
