"""What a run's records add up to: the verdict on a release, and why. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reports import cells as grouping
from reports import formats, names, required, waivers
from reports.cells import SEVERITY, Cell
from reports.deployment import Choice, asks_gates, choices
from reports.picks import Mean, Pick, means, pareto, recommend
from reports.records import Record, Records

EVERY = "every gate"
SHIP, HOLD, INCONCLUSIVE = "SHIP", "HOLD", "INCONCLUSIVE"


@dataclass(frozen=True)
class Line:
    """One or several gates of a cell that share a status and a cause.

    excess: how many times the limit was missed, for the order.
    """

    cell: Cell
    verdicts: tuple[Record, ...]

    @property
    def first(self) -> Record:
        return self.verdicts[0]

    @property
    def status(self) -> str:
        return self.first["status"]

    @property
    def gates(self) -> str:
        """The gates in words; "every gate" where the whole cell shares the fate."""
        if len(self.verdicts) == len(self.cell.verdicts) > 1:
            return EVERY
        return ", ".join(gate_name(verdict) for verdict in self.verdicts)

    @property
    def limit(self) -> str:
        """What was asked; several gates each ask for their own."""
        return formats.limit(self.first) if len(self.verdicts) == 1 else "each its own"

    @property
    def excess(self) -> float:
        return max(map(_excess, self.verdicts))


@dataclass(frozen=True)
class Group:
    """Cells, or gates of cells, that share a reason."""

    reason: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Coverage:
    """selected: cells the run was asked for, None where the records do not say.

    seen: cells with verdicts. measured: those with a number. missing: selected, without verdicts.
    """

    selected: int | None
    seen: int
    measured: int
    missing: int
    refused: tuple[Group, ...]
    errored: tuple[Group, ...]


@dataclass(frozen=True)
class Summary:
    """Everything the pages show, in the order in which they show it."""

    run: Record
    verdict: str
    sentence: str
    counts: dict[str, int]
    cell_counts: dict[str, int]
    cells: tuple[Cell, ...]
    failing: tuple[Line, ...]
    undecided: tuple[Line, ...]
    triage: tuple[Line, ...]
    waived: tuple[Line, ...]
    picks: tuple[Pick, ...]
    pareto: frozenset[tuple[str, str, str]]
    means: tuple[Mean, ...]
    coverage: Coverage
    choices: tuple[Choice, ...] = ()
    problems: tuple[str, ...] = ()
    unmet: tuple[required.Unmet, ...] = ()
    stale: tuple[waivers.Stale, ...] = ()


def summarize(records: Records) -> Summary:
    """Add a run's records up. Takes what `records.read` or `records.read_partial` gives."""
    cells = grouping.group(records)
    failing = sorted(lines_of(cells, "FAIL", "ERROR"), key=_worst_first)
    undecided = list(lines_of(cells, "INCONCLUSIVE", "NO_BASELINE"))
    coverage = _coverage(records.run, cells)
    gated = [cell for cell in cells if asks_gates(cell)]
    doubts = _doubts(records, coverage, undecided)
    counts = _counts(verdict["status"] for verdict in records.verdicts)
    unmet = required.unmet(records.run, records.verdicts)
    stale = waivers.stale(records.run, records.verdicts)
    lacking = _lacking(records.run, unmet, stale)
    verdict = HOLD if failing or lacking else INCONCLUSIVE if doubts else SHIP
    return Summary(
        run=records.run,
        verdict=verdict,
        sentence=_sentence(verdict, counts, cells, failing, [*lacking, *doubts]),
        counts=counts,
        cell_counts=_counts(cell.status for cell in cells),
        cells=tuple(cells),
        failing=tuple(failing),
        undecided=tuple(undecided),
        triage=tuple(_triage(records.run, cells)),
        waived=tuple(lines_of(cells, "WAIVED")),
        picks=tuple(recommend(gated)),
        pareto=frozenset(pareto(cells)),
        means=tuple(means(gated)),
        coverage=coverage,
        choices=tuple(choices(cells)),
        problems=tuple(records.problems),
        unmet=tuple(unmet),
        stale=tuple(stale),
    )


def gate_name(verdict: Record) -> str:
    """A gate with its batch size: "speed b1"."""
    batch = verdict.get("batch")
    return verdict["gate"] if batch is None else f"{verdict['gate']} b{batch}"


def lines_of(cells: Iterable[Cell], *statuses: str) -> Iterable[Line]:
    """Verdicts of these statuses (of any without one); those of a cell that have no number and the
    same cause together."""
    for cell in cells:
        groups: dict[tuple[object, ...], list[Record]] = {}
        for index, verdict in enumerate(cell.verdicts):
            if not statuses or verdict["status"] in statuses:
                alone = index if verdict.get("value") is not None else None
                cause = (verdict["status"], verdict.get("reason"), alone)
                groups.setdefault(cause, []).append(verdict)
        yield from (Line(cell, tuple(verdicts)) for verdicts in groups.values())


# Wrong answers before crashes before what does not pay.
_RIGHT = (
    "evidence reload accuracy fidelity training_steps training_accuracy realtime_answers "
    "cloud_answers"
).split()
_TIER = dict.fromkeys(_RIGHT, 0)


def _worst_first(line: Line) -> tuple[object, ...]:
    tier = 1 if line.status == "ERROR" else _TIER.get(line.first["gate"], 2)
    return tier, -line.excess, line.cell.key, gate_name(line.first)


def _triage(run: Record, cells: list[Cell]) -> list[Line]:
    """A nightly run's gates that judge by chance and fail or are undecided, the surest first."""
    if run.get("gate") == "release":
        return []
    lines = [Line(cell, (one,)) for cell in cells for one in cell.verdicts if chance(one)]
    found = [line for line in lines if line.status in ("FAIL", "INCONCLUSIVE")]

    def surest(line: Line) -> tuple[object, ...]:
        told = chance(line.first)
        return told["q"], told["p"], -line.excess, line.cell.key, gate_name(line.first)

    return sorted(found, key=surest)


def chance(verdict: Record) -> Record:
    """How likely the limit is kept: "p", "q" and "of" how many gates; empty for others."""
    return (verdict.get("evidence") or {}).get("triage") or {}


def _excess(verdict: Record) -> float:
    """How many times the limit was missed; infinite without a number to say so."""
    value, limit = verdict.get("value"), verdict.get("limit") or {}
    least, most = limit.get("min"), limit.get("max")
    if value is None:
        return math.inf
    if least is not None:
        return least / value if value > 0 else math.inf
    if most is not None:
        return value / most if most > 0 else math.inf
    return math.inf if verdict["gate"] in _TIER else 1.0


def _counts(statuses: Iterable[str]) -> dict[str, int]:
    counted = Counter(statuses)
    return {status: counted[status] for status in reversed(SEVERITY) if counted[status]}


def _coverage(run: Record, cells: list[Cell]) -> Coverage:
    selected = run.get("selected_cells")
    return Coverage(
        selected=selected,
        seen=len(cells),
        measured=sum(cell.measured for cell in cells),
        missing=max(0, selected - len(cells)) if selected is not None else 0,
        refused=_grouped(lines_of(cells, "REFUSED")),
        errored=_grouped(lines_of(cells, "ERROR")),
    )


def _grouped(lines: Iterable[Line]) -> tuple[Group, ...]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.first.get("reason") or "no reason given", []).append(line)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Group(reason, tuple(members)) for reason, members in ordered)


def _doubts(records: Records, coverage: Coverage, undecided: list[Line]) -> list[str]:
    """Clauses saying why nobody may ship on these records, failing gates aside."""
    run, doubts = records.run, []
    if records.problems:
        doubts.append(f"{formats.count(len(records.problems), 'problem')} in the record file")
    if not coverage.measured:
        doubts.append("nothing was measured")
    if run.get("interrupted"):
        doubts.append(f"the run was interrupted ({names.first_line(run['interrupted'], 120)})")
    elif not run["complete"]:
        doubts.append("the run did not finish")
    if coverage.missing:
        of = f" of {coverage.selected}" if coverage.selected else ""
        doubts.append(f"{coverage.missing}{of} cells were not reached")
    if undecided:
        statuses = [one["status"] for line in undecided for one in line.verdicts]
        bare = statuses.count("NO_BASELINE")
        if number := len(statuses) - bare:
            doubts.append(f"{formats.count(number, 'gate')} could not be decided")
        if bare:
            doubts.append(f"{formats.count(bare, 'gate')} had no baseline to compare with")
    if lost := missing(run):
        doubts.append(f"{formats.count(len(lost), 'cell')} of the accepted run not measured")
    if run.get("contaminated"):
        doubts.append(CONTAMINATED)
    return doubts


def missing(run: Record) -> list[str]:
    """Cells that the accepted run measured and this one does not; a shard alone lacks nothing."""
    told = run.get("history") or {}
    if run.get("shard"):
        return []
    return [*(told.get("missing") or []), *(told.get("errored") or [])]


def _lacking(run: Record, unmet: list[required.Unmet], stale: list[waivers.Stale]) -> list[str]:
    """Clauses saying what a release fails for beside its gates; a nightly run only warns of it."""
    if run.get("gate") != "release":
        return []
    clauses = [required.sentence(unmet)] if unmet else []
    return [*clauses, waivers.sentence(stale)] if stale else clauses


CONTAMINATED = (
    "the A/A comparison is contaminated (identical code differed by more than 1\u202f%), "
    "so no speed here can be trusted"
)


def _sentence(
    verdict: str, counts: dict[str, int], cells: list[Cell], failing: list[Line], doubts: list[str]
) -> str:
    gates = formats.count(sum(counts.values()), "gate")
    number = formats.count(len(cells), "cell")
    if verdict == HOLD and failing:
        failed = sum(len(line.verdicts) for line in failing)
        where = len({line.cell.key for line in failing})
        fail = "fails" if failed == 1 else "fail"
        start = f"{failed} of {gates} {fail}, in {where} of {number}; worst is {_worst(failing[0])}"
        return "; ".join([start, *doubts]) + "."
    if verdict != SHIP:
        start = f"Nothing fails in {gates} of {number}, but " if counts else "No verdict: "
        return start + "; ".join(doubts) + "."
    passed = counts.get("PASS", 0) + counts.get("WAIVED", 0)
    waived = f", {counts['WAIVED']} of them by a waiver" if "WAIVED" in counts else ""
    rest = [
        f"{counts[status]} {word}"
        for status, word in (("NO_EXPECTATION", "have no limit here"), ("REFUSED", "were refused"))
        if status in counts
    ]
    of = f"All {formats.count(passed, 'gate')} with a limit in {number} hold{waived}"
    return "; ".join([of, *rest]) + "."


def _worst(line: Line) -> str:
    where = f"{names.plain(names.short(line.cell.name, 200))}: {line.gates}"
    cause = names.first_line(line.first.get("reason"), 120)
    if line.first.get("value") is None or formats.threshold(line.first) is None:
        return f"{where} ({cause or 'no reason given'})"
    number = formats.measured(line.first, interval=False)
    return f"{where} {number}, asked {formats.limit(line.first)}"
