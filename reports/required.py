"""What a release requires: which gates that the policy lists have no answer, and why. Pure.

A run's record holds what its policy requires as cells and gates (`required`), so that nothing here
reads a policy, and shards of a run that are put together are held to the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports import formats, names
from reports.plain import mapping
from reports.records import Record, cell_key

UNANSWERED = ("REFUSED", "NO_EXPECTATION", "NO_BASELINE", "ERROR")
MISSING, NO_CELL = "MISSING", "NO CELL"
MOST_NAMED = 4

Question = tuple[str, str, str, str, int | None]


@dataclass(frozen=True)
class Unmet:
    """Gates that one entry of the policy requires and that have no answer for one cause.

    source: the entry's file and line. status: a verdict's, MISSING where the run did not ask, or
    NO_CELL where the entry's names cover no cell. cells: each cell with its gates in words.
    """

    source: str
    status: str
    cause: str
    cells: tuple[tuple[str, str], ...]
    gates: int

    @property
    def what(self) -> str:
        """What is required."""
        named = [f"{cell} ({gates})" if gates else cell for cell, gates in self.cells[:MOST_NAMED]]
        more = len(self.cells) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    @property
    def text(self) -> str:
        """One line: where it says so, what is required, why there is no answer."""
        status = f"{self.status}: " if self.status in UNANSWERED else ""
        return f"{self.source} requires {self.what}: {status}{names.first_line(self.cause)}"


def unmet(run: Record, verdicts: Iterable[Record]) -> list[Unmet]:
    """What the run's policy requires and its verdicts do not answer, in the order of the policy.

    What a shard did not ask is left to the run that it becomes part of.
    """
    answers = {key(verdict): verdict for verdict in verdicts}
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for entry in run.get("required") or []:
        source = entry["source"]
        for name in entry["no_cell"]:
            absent = f"the {run.get('matrix') or 'run'} matrix has no such cell"
            found.setdefault((source, NO_CELL, absent), {})[name] = []
        for cell in entry["cells"]:
            place = cell_key(cell)
            for one in entry["gates"]:
                gate, batch = one["gate"], one["batch"]
                cause = _cause(run, answers.get((*place, gate, batch)), batch)
                if cause:
                    cells = found.setdefault((source, *cause), {})
                    words = gate if batch is None else f"{gate} b{batch}"
                    cells.setdefault("-".join(place), []).append(words)
    asked = {entry["source"]: len(entry["gates"]) for entry in run.get("required") or []}
    return [_unmet(*kind, cells, asked[kind[0]]) for kind, cells in found.items()]


def key(verdict: Record) -> Question:
    """A verdict's cell, gate and batch size."""
    model, technique, target = cell_key(verdict["cell"])
    return model, technique, target, verdict["gate"], verdict.get("batch")


def _cause(run: Record, verdict: Record | None, batch: int | None) -> tuple[str, str] | None:
    if verdict is None:
        if run.get("shard"):
            return None
        return MISSING, _left_out(run, batch)
    if verdict["status"] in UNANSWERED:
        return verdict["status"], verdict.get("reason") or "no reason given"
    return None


def _left_out(run: Record, batch: int | None) -> str:
    """Why the run may not have asked."""
    options = mapping(run.get("options"))
    if run.get("interrupted"):
        return "not reached: the run was interrupted"
    chosen = {
        "models": "--model",
        "techniques": "--technique",
        "changed_since": "--changed-since",
    }
    named = [word for name, word in chosen.items() if options.get(name)]
    sizes = [*(options.get("gated") or []), *(options.get("reported") or [])]
    if batch is not None and sizes and batch not in sizes:
        named.append("--batch")
    return "not in this run" + (f" ({' and '.join(named)} left it out)" if named else "")


def _unmet(source: str, status: str, cause: str, cells: dict[str, list[str]], asked: int) -> Unmet:
    told = tuple(
        (cell, "" if len(gates) in (0, asked) else ", ".join(gates))
        for cell, gates in cells.items()
    )
    gates = sum(len(gates) for gates in cells.values()) or len(cells) * asked
    return Unmet(source, status, cause, told, gates)


def sentence(found: Iterable[Unmet]) -> str:
    """How much is missing, and which lines ask for it."""
    found = list(found)
    number = formats.count(sum(one.gates for one in found), "required gate")
    lines = list(dict.fromkeys(one.source for one in found))
    more = f" and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
    return f"{number} without an answer ({', '.join(lines[:MOST_NAMED])}{more})"
