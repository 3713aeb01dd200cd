"""What artifacts take of a small device: the numbers, what they gain over FP32, at what risk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reports import formats, names
from reports.cells import Cell
from reports.plain import listing, mapping, number
from reports.records import Record

COLUMNS = {
    "edge_artifact": "Artifact",
    "edge_installed": "With its runtime",
    "edge_memory": "Peak memory",
    "edge_cold_start": "Cold start",
    "edge_parameters": "Parameters",
    "edge_macs": "MACs",
    "edge_traffic": "Bytes moved",
    "edge_roofline": "Of the roofline",
    "edge_energy": "Energy",
}
"""Gates in the order of the table, with their headings."""

_GAINS = {
    "edge_installed": "the bytes to install",
    "edge_memory": "the peak memory",
    "edge_cold_start": "the cold start",
}

_OWN = {
    "edge_installed": "to install",
    "edge_memory": "of memory",
    "edge_cold_start": "to a first answer",
}


def asked(cells: Iterable[Cell]) -> list[Cell]:
    """The cells that the edge gates were asked of."""
    return [cell for cell in cells if any(one["gate"] in COLUMNS for one in cell.verdicts)]


def tables(cells: Iterable[Cell]) -> dict[tuple[str, str], list[tuple[Cell, list[str]]]]:
    """By model and target: each cell that was asked, with its numbers in the order of COLUMNS."""
    found: dict[tuple[str, str], list[tuple[Cell, list[str]]]] = {}
    for cell in asked(cells):
        numbers = [_number(cell, gate) for gate in COLUMNS]
        found.setdefault((cell.model, cell.target), []).append((cell, numbers))
    return found


def absent(cells: Iterable[Cell]) -> list[str]:
    """Why numbers of the table are not there, each reason once with its heading."""
    found: dict[str, list[str]] = {}
    here = asked(cells)
    for gate, heading in COLUMNS.items():
        for cell in here:
            verdict = cell.gate(gate)
            if verdict is not None and verdict.get("value") is None and verdict.get("reason"):
                why = names.first_line(verdict["reason"]).removeprefix(f"{formats.ABSENT}: ")
                found.setdefault(why, []).append(heading)
    return [f"{', '.join(dict.fromkeys(heads))}: {why}" for why, heads in found.items()]


def certificate(cell: Cell) -> Record:
    """What the gates certified of a cell, as the edge gates found it in the cache, or nothing."""
    evidence = mapping(mapping(cell.gate("edge_artifact")).get("evidence"))
    return mapping(evidence.get("certified"))


def certified(cell: Cell) -> bool:
    """Whether it has a certificate, and for these very weights."""
    return bool(certificate(cell).get("holds"))


def gain(cell: Cell) -> str:
    """Each of what a device is short of, as a share of what FP32 takes."""
    parts = []
    for gate, what in _GAINS.items():
        verdict = cell.gate(gate)
        new = number(mapping(verdict).get("value"))
        old = number(mapping(mapping(verdict).get("baseline")).get("value"))
        if verdict is not None and new is not None and old:
            took = formats.measured(verdict, interval=False)
            parts.append(f"{formats.WHOLE_PERCENT(new / old)} of {what} ({took})")
    return ", ".join(parts) or formats.ABSENT


def own(cell: Cell) -> str:
    """What it takes of what a device is short of, compared with nothing."""
    found = [(_number(cell, gate), what) for gate, what in _OWN.items()]
    return ", ".join(f"{took} {what}" for took, what in found if took != formats.ABSENT)


def risk(cell: Cell) -> str:
    """What is known of the accuracy, and what to run where nothing is."""
    found = certificate(cell)
    if cell.technique == "none":
        return "none: the others are told against it"
    if not found:
        again = f"pytest suites/test_gates.py --model {cell.model} --technique {cell.technique}"
        return f"not certified in this cache, so its accuracy is not known: {again}"
    if not found.get("holds"):
        return "certified with other weights than these: run the gates again"
    drop, high = number(found.get("drop")), number(found.get("drop_high"))
    told = formats.drop({"gate": "accuracy", "value": drop, "high": high})
    return f"accuracy drop {told}, certified by run {names.short(str(found.get('run')), 40)}"


def _number(cell: Cell, gate: str) -> str:
    verdict = cell.gate(gate)
    return formats.ABSENT if verdict is None else formats.measured(verdict, interval=False)


def edge_lines(cell: Cell) -> list[str]:
    """The small print of the edge gates, one line a fact."""
    if not asked([cell]):
        return []
    found = [risk(cell), _loaded(cell), *_started(cell), _moved(cell), _rate(cell)]
    return [line for line in found if line]


def _evidence(cell: Cell, gate: str) -> dict[str, Any]:
    return mapping(mapping(cell.gate(gate)).get("evidence"))


def _loaded(cell: Cell) -> str:
    found = _evidence(cell, "edge_installed")
    packages = {name: number(size) for name, size in mapping(found.get("packages")).items()}
    if not packages:
        return ""
    largest = sorted(packages.items(), key=lambda one: -(one[1] or 0.0))
    shown = ", ".join(f"{name} {formats.size(size)}" for name, size in largest[:6])
    rest = len(largest) - 6
    shown += f" and {rest} smaller" if rest > 0 else ""
    beside = ", ".join(
        f"{name} {formats.size(number(found.get(key)))}"
        for key, name in (("python", "Python"), ("system", "the system's libraries"))
    )
    return f"files loaded by the first answer: {shown}; not counted: {beside}"


def _started(cell: Cell) -> list[str]:
    lines = []
    for gate, what in (("edge_cold_start", "cold start"), ("edge_memory", "peak memory")):
        found = _evidence(cell, gate)
        ratio = mapping(found.get("ratio"))
        if (value := number(ratio.get("value"))) is None:
            continue
        told = formats.measured({"gate": "speed", **ratio, "value": value})
        covers = formats.WHOLE_PERCENT(number(found.get("coverage")))
        lines.append(
            f"{what}: FP32 over this {told}; {found.get('starts')} starts a side in turns, "
            f"intervals cover the median at {covers}"
        )
    return lines


def _moved(cell: Cell) -> str:
    found = _evidence(cell, "edge_traffic")
    intensity = number(found.get("intensity"))
    if intensity is None:
        return ""
    return f"{intensity:.3g} FLOP a byte moved, layers in {found.get('format')}"


def _rate(cell: Cell) -> str:
    found = _evidence(cell, "edge_roofline")
    rate, roof = number(found.get("flops_per_s")), mapping(found.get("roof"))
    attainable = number(roof.get("attainable"))
    if rate is None or attainable is None:
        return ""
    bound = "bandwidth" if attainable < (number(roof.get("peak")) or 0.0) else "arithmetic"
    processes = len(listing(found.get("processes"))) or found.get("processes")
    return (
        f"{rate / 1e9:.3g} GFLOP/s of {attainable / 1e9:.3g} that {bound} allows; a call takes "
        f"{formats.seconds(number(found.get('median_s')))} ({processes} processes)"
    )
