"""Which artifact to take for edge, real time and cloud, what it gains over FP32, at what risk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reports import edge, formats, serving
from reports.cells import Cell
from reports.plain import mapping, number
from reports.records import Record

NAMES = {"edge": "edge", "realtime": "real time", "cloud": "cloud"}
"""The suites that put artifacts under a load; their gates start with the suite's name."""

BASELINE = "none"
BROKEN = ("FAIL", "ERROR", "REFUSED")
DOUBTED = ("INCONCLUSIVE", "NO_BASELINE", "WAIVED")


@dataclass(frozen=True)
class Told:
    """What a suite says of a cell. merit: for the order, higher is better; None without one.

    gain: over FP32. own: what it reaches, compared with nothing.
    """

    merit: float | None
    gain: str
    risk: str
    own: str


@dataclass(frozen=True)
class Choice:
    """The answer for one model, target and suite; cell is None where none keeps its gates."""

    model: str
    target: str
    suite: str
    cell: Cell | None
    gain: str
    risk: str
    command: str


def suite_of(verdict: Record) -> str | None:
    """The deployment suite that asked a verdict, or None."""
    suite = verdict["gate"].partition("_")[0]
    return suite if suite in NAMES else None


def asks_gates(cell: Cell) -> bool:
    """Whether a cell was asked more than deployment suites ask."""
    return any(suite_of(verdict) is None for verdict in cell.verdicts)


def choices(cells: Iterable[Cell]) -> list[Choice]:
    """For each model, target and suite that was asked, the best cell whose gates all hold."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        for suite in dict.fromkeys(filter(None, map(suite_of, cell.verdicts))):
            groups.setdefault((cell.model, cell.target, suite), []).append(cell)
    return [_choice(key, group) for key, group in groups.items() if key[2] in TELL]


def _choice(key: tuple[str, str, str], group: list[Cell]) -> Choice:
    suite = key[2]
    command = _command(group[0], suite)
    fit = [cell for cell in group if not _has(cell, suite, BROKEN)]
    if not fit:
        failing = {v["gate"] for cell in group for v in _own(cell, suite) if v["status"] in BROKEN}
        why = f"none of {formats.count(len(group), 'artifact')} keeps {', '.join(sorted(failing))}"
        return Choice(*key, None, why, formats.ABSENT, command)
    told = {cell.key: TELL[suite](cell) for cell in fit}
    known = [cell for cell in fit if told[cell.key].merit is not None]
    if not known:
        return Choice(*key, None, f"nothing to choose by: {MERITS[suite]}", formats.ABSENT, command)
    best = max(known, key=lambda cell: told[cell.key].merit or 0.0)
    found = told[best.key]
    gain = found.gain
    if best.technique == BASELINE:
        others = BETTER[suite] if len(group) > 1 else "no artifact was asked beside it"
        gain = f"FP32 itself, {found.own}: {others}" if found.own else f"FP32 itself: {others}"
    return Choice(*key, best, gain, _risk(best, suite, found.risk), _command(best, suite))


def _own(cell: Cell, suite: str) -> list[Record]:
    return [verdict for verdict in cell.verdicts if suite_of(verdict) == suite]


def _has(cell: Cell, suite: str, statuses: tuple[str, ...]) -> list[str]:
    return [v["gate"] for v in _own(cell, suite) if v["status"] in statuses]


def _command(cell: Cell, suite: str) -> str:
    return next((v["command"] for v in _own(cell, suite) if v.get("command")), "")


def _risk(cell: Cell, suite: str, own: str) -> str:
    doubted = _has(cell, suite, DOUBTED)
    parts = [f"undecided or waived: {', '.join(doubted)}" if doubted else "", own]
    return "; ".join(filter(None, parts)) or formats.ABSENT


def _answers(cell: Cell, suite: str) -> str:
    verdict = cell.gate(f"{suite}_answers")
    if verdict is None or verdict.get("value") is None:
        return "accuracy under load not measured"
    return f"accuracy under load drops {formats.drop(verdict)}"


def _realtime(cell: Cell) -> Told:
    verdict = cell.gate("realtime_rate")
    took = serving.arm(cell, "realtime_rate")
    deadline = number(serving.evidence(cell, "realtime_rate").get("deadline_s"))
    within = "" if deadline is None else f" within {formats.seconds(deadline)}"
    rated = number(took.get("rate"))
    own = f"{serving.rate(rated)}{within} with {serving.policy(took) or 'no policy'}"
    bound = number(serving.arm(cell, "realtime_latency").get("bound_s"))
    if bound is not None:
        own += f", one by one 99 of 100 within {formats.seconds(bound)}"
    gain = own
    if verdict is not None and verdict.get("value") is not None:
        gain = f"{formats.measured(verdict)} queries a second: {own}"
    # By the rate rather than by its ratio, which is missing where FP32 gave none.
    return Told(rated, gain, _answers(cell, "realtime"), own)


def _cloud(cell: Cell) -> Told:
    rated = cell.gate("cloud_server")
    reached = number(serving.arm(cell, "cloud_server").get("rate"))
    own = "" if rated is None else f"{serving.rate(reached)} at the objective"
    parts = [own] if own else []
    if rated is not None and rated.get("value") is not None:
        parts = [f"{formats.measured(rated)} queries a second: {own}"]
    cost = cell.gate("cloud_cost")
    if cost is not None and cost.get("value") is not None:
        price = mapping(serving.evidence(cell, "cloud_cost").get("price"))
        example = " (an example price)" if price.get("example") else ""
        parts.append(f"{formats.measured(cost)} cost{example}")
    fleet = cell.gate("cloud_fleet")
    if fleet is not None and fleet.get("value") is not None:
        parts.append(f"{formats.measured(fleet)} replica hours (simulated)")
    misses = cell.gate("cloud_misses")
    risk = [_answers(cell, "cloud")]
    if misses is not None and misses.get("value") is not None:
        risk.append(f"{formats.measured(misses)} of queries miss the objective (simulated)")
    return Told(reached, ", ".join(parts), "; ".join(risk), own)


def _edge(cell: Cell) -> Told:
    """The fewest bytes to install: what a device is shortest of."""
    installed = cell.value("edge_installed")
    trusted = cell.technique == BASELINE or edge.certified(cell)
    merit = -installed if trusted and installed is not None else None
    return Told(merit, edge.gain(cell), edge.risk(cell), edge.own(cell))


TELL: dict[str, Callable[[Cell], Told]] = {"edge": _edge, "realtime": _realtime, "cloud": _cloud}

BETTER = {
    "edge": "no certified artifact is smaller",
    "realtime": "no artifact is better",
    "cloud": "no artifact is better",
}
"""Of FP32, where it is the one to take."""

MERITS = {
    "edge": "no certified artifact, nor FP32, has edge_installed",
    "realtime": "no artifact has a rate within the deadline",
    "cloud": "no artifact has a rate at the objective",
}
"""What the order of artifacts goes by, where it is missing."""
