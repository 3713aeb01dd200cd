"""What a bisect asks each commit: one cell's regression against the good run, as that was run."""

from __future__ import annotations

import hashlib
import itertools
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports import names, records
from reports.history import artifacts, compare, text
from reports.history.compare import REPORTED, WORSE, Change, Comparison
from reports.history.side import Side
from reports.history.store import History
from reports.plain import listing, mapping
from reports.records import Record, RecordError

GATES = ("accuracy", "size", "speed")
"""What the gate `regression` compares."""

_OWN = ("--history", "--report", "--cache", "--model", "--technique", "--target")
_REPEATED = (
    "--seed --cache-mode --latency-budget --size-budget --max-drop --optimise-for --allow"
).split()
"""Options that a cell's recorded command repeats, none of which names a file."""
_FILES = ("--plugin", "--policy", "--imagenet")
"""Options that do: a record is no reason to run a file, so these are asked for."""


@dataclass(frozen=True)
class Question:
    """What every commit is asked. good: the run compared with; words: for pytest, of each step."""

    good: str
    cell: str
    gates: tuple[str, ...]
    words: tuple[str, ...]

    def record(self) -> Record:
        """As plain data."""
        named = {"good": self.good, "cell": self.cell}
        return {**named, "gates": list(self.gates), "words": list(self.words)}

    @property
    def digest(self) -> str:
        """Eight hex digits, other ones for any other question."""
        return hashlib.sha256(json.dumps(self.record()).encode()).hexdigest()[:8]


def commit_of(side: Side) -> str:
    """The commit that a run measured; RecordError where no commit is what it measured."""
    commit = side.run.get("commit")
    again = "commit, run `pytest suites/ --history …` again and name that run"
    if not commit:
        what = f"the run {side.name} names no commit: it was measured outside a git repository"
        raise RecordError(None, None, what, "name a run that `list` shows with a commit")
    if side.run.get("dirty"):
        what = f"the run {side.name} was measured with uncommitted changes on {commit[:12]}"
        raise RecordError(None, None, what, again)
    return str(commit)


def question(good: Side, bad: Side, cell: str | None, more: Sequence[str]) -> Question:
    """The question to ask; RecordError where there is none, or more than one.

    cell: its id, None for the only one that became worse. more: words for pytest.
    """
    own = next((one for one in more if one.startswith("-k") or one.partition("=")[0] in _OWN), None)
    if own:
        what = f"{own} after `--`, which each step says itself"
        raise RecordError(None, None, what, "leave it out; --cache and --cell stand before `--`")
    found = compare.compare(good, bad)
    worse = _worse(found)
    if cell is None:
        cell = _only(found, worse)
    _check_cell(found, cell)
    changes = worse.get(cell, [])
    # What is not worse is not asked: a size takes seconds, a time minutes.
    gates = tuple(gate for gate in GATES if gate in {one.row.gate for one in changes}) or GATES
    words = [*_cell(good, cell), *_as_run(good, cell, more)]
    if "speed" in gates:
        slower = [one.row.batch for one in changes if one.row.gate == "speed"]
        batches = slower or listing(mapping(good.run.get("options")).get("gated")) or [1]
        words += [word for batch in sorted(map(int, batches)) for word in ("--batch", str(batch))]
    words += ["-k", " or ".join(["regression", *gates])]
    return Question(good.name, cell, gates, (*words, *more))


def _worse(found: Comparison) -> dict[str, list[Change]]:
    """Cell -> what became worse of it, as far as the gate asks."""
    cells: dict[str, list[Change]] = {}
    for one in found.of(WORSE):
        if one.row.gate in GATES and one.row.status != REPORTED:
            cells.setdefault(one.row.cell, []).append(one)
    return cells


def _only(found: Comparison, worse: dict[str, list[Change]]) -> str:
    between = f"from {found.old.name} to {found.new.name}"
    if found.machine:
        what = f"the machines differ {between}, so nothing is compared: {'; '.join(found.machine)}"
        raise RecordError(None, None, what, "name a cell with --cell")
    if not worse:
        what = f"nothing to bisect: no speed, accuracy or size became worse {between}"
        raise RecordError(None, None, what, "name a cell with --cell to look all the same")
    if len(worse) > 1:
        lines = "".join(f"\n  {text.change(one)}" for all_of in worse.values() for one in all_of)
        what = f"{len(worse)} cells became worse {between}:{lines}\n"
        raise RecordError(None, None, what, "name one of them with --cell")
    return next(iter(worse))


def _check_cell(found: Comparison, cell: str) -> None:
    """RecordError for a cell that the runs do not have in common."""
    for side in (found.old, found.new):
        if cell not in side.cells:
            model = cell.partition("-")[0]
            near = [one for one in side.cells if one.partition("-")[0] == model]
            told = ", ".join((near or list(side.cells))[:6]) or "none"
            what = f"the run {side.name} has no cell {names.plain(cell)!r}"
            raise RecordError(None, None, what, f"there are: {told}")
        if not side.cells[cell]:
            what = f"{cell} was refused or failed in {side.name}"
            raise RecordError(None, None, what, "a bisect compares what was measured in both runs")
    model = next(row.model for row in found.new.rows.values() if row.cell == cell)
    why = compare.changed_model(found.old, found.new, model)
    if why:
        advice = "nothing of it can be compared: accept a run with those weights, and bisect later"
        raise RecordError(None, None, f"{model}: {why}", advice)


def _cell(side: Side, cell: str) -> list[str]:
    row = next(row for row in side.rows.values() if row.cell == cell)
    return ["--model", row.model, "--technique", row.technique, "--target", row.target]


def _as_run(good: Side, cell: str, more: Sequence[str]) -> list[str]:
    """How the good run was measured; RecordError for a file that it needs and nobody names."""
    command = _command(good, cell)
    given = {one.partition("=")[0] for one in more}
    for word in command:
        option = word.partition("=")[0]
        if option in _FILES and option not in given:
            what = f"the run {good.name} was measured with a {option} of its own"
            advice = f"say which: add `-- {option}=FILE` (a relative path is each commit's own)"
            raise RecordError(None, None, what, advice)
    words = []
    threads = mapping(good.run.get("machine")).get("threads")
    if isinstance(threads, int):
        words += ["--threads", str(threads)]
    if good.run.get("effort"):
        words += ["--effort", str(good.run["effort"])]
    for option, value in itertools.pairwise(command):
        if option in _REPEATED:
            words += [option, value]
    return words


def _command(good: Side, cell: str) -> list[str]:
    """The words of the command that repeats the cell, by its records."""
    path = good.samples.folder
    for verdict in records.read(path).verdicts:
        if verdict["id"] == cell and verdict.get("command"):
            return shlex.split(verdict["command"])
    return []


def artifact(history: History, good: Side, cell: str, cache: Path) -> Path:
    """The folder that holds the artifact that the good run measured.

    RecordError where neither the history nor the cache has it: without it no time is confirmed.
    """
    known = artifacts.known(good.run, history.folder(good.name)).get(cell)
    if known is None:
        what = f"the run {good.name} does not say which artifact of {cell} it measured"
        raise RecordError(None, None, what, "name a later run as GOOD")
    found = artifacts.find(history, known, cache)
    if found is None:
        what = (
            f"the artifact of {cell} that {good.name} measured ({known['sha256'][:12]}) is neither "
            f"in {history.path / artifacts.FOLDER} nor in the cache {cache}"
        )
        advice = (
            "name the cache that has it with --cache, or a later run as GOOD; while a cache has it,"
            f" `python -m reports accept {good.name} --artifacts CACHE` keeps it"
        )
        raise RecordError(None, None, what, advice)
    return found
