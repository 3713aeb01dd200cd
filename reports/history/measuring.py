"""One step of a bisect: the suites of the commit that is checked out, asked for one cell.

They compare with the good run, which is all that their history holds, and their `regression` gate
answers: PASS is good, FAIL is bad, and whatever else is no answer. Nothing is measured in here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports import formats, names, records
from reports.history import artifacts, machine, signals
from reports.history.question import Question
from reports.history.store import History
from reports.history.worktree import Worktree, environment
from reports.plain import listing, mapping, number
from reports.records import Record, RecordError

GOOD, BAD, SKIP = "good", "bad", "skip"
_WORDS = {"PASS": GOOD, "FAIL": BAD}
PATIENCE = 30.0
"""Seconds that a run which is to stop gets to write what it has and end its workers."""


@dataclass(frozen=True)
class Step:
    """What a commit answered. word: good, bad or skip. numbers: what was measured, in words.

    limit: what the gate asked. software: what it ran on, where it ran.
    """

    commit: str
    word: str
    status: str
    numbers: str = ""
    reason: str = ""
    seconds: float = 0.0
    limit: Record | None = None
    software: Record = field(default_factory=dict)

    def record(self) -> Record:
        """As plain data."""
        return dict(vars(self))

    @classmethod
    def from_record(cls, kept: Any) -> Step | None:
        """From plain data; None where that is none, so that the commit is asked again."""
        kept = mapping(kept)
        fields = {name: kept[name] for name in cls.__dataclass_fields__ if name in kept}
        whole = {"commit", "word", "status"} <= kept.keys() and kept["word"] in (GOOD, BAD, SKIP)
        return cls(**fields) if whole else None


@dataclass(frozen=True)
class Measuring:
    """Asks commits a question. base: a history with the good run, copied for each step."""

    question: Question
    tree: Worktree
    cache: Path
    out: Path

    @property
    def base(self) -> Path:
        return self.tree.place / "base"

    def report(self, sha: str) -> Path:
        """The folder of a step's report, and of what it printed."""
        return self.out / "steps" / f"{sha[:12]}-{self.question.digest}"

    def prepare(self, history: History, artifact: Path | None) -> None:
        """Make the history that commits are compared with: the good run, accepted, its artifact.

        artifact: the folder that holds it, None where no time is asked for.
        """
        run = self.question.good
        base = History.open(self.base, create=True)
        shutil.copytree(history.folder(run), base.folder(run))
        base.accept(run)
        if artifact is not None:
            known = artifacts.known(history.runs[run], history.folder(run))
            sha256 = known[self.question.cell]["sha256"]
            shutil.copytree(
                artifact / artifacts.INSIDE, artifacts.place(base, sha256) / artifacts.INSIDE
            )

    def ask(self, sha: str) -> Step:
        """The answer of the commit, which is checked out; KeyboardInterrupt leaves none behind."""
        report = self.report(sha)
        shutil.rmtree(report, ignore_errors=True)
        report.mkdir(parents=True)
        history = self.tree.place / "history"
        shutil.rmtree(history, ignore_errors=True)
        shutil.copytree(self.base, history)
        began = time.monotonic()
        try:
            code = self._run(report, history)
        finally:
            self.tree.clean()
        step = self._read(sha, report, code)
        return Step(**{**vars(step), "seconds": round(time.monotonic() - began, 1)})

    def _run(self, report: Path, history: Path) -> int:
        words = [sys.executable, "-m", "pytest", "suites/", "-p", "no:cacheprovider"]
        words += [*self.question.words, "--history", str(history), "--cache", str(self.cache)]
        words += ["--report", str(report)]
        with (report / "output.txt").open("wb") as output:
            with signals.heard():
                process = subprocess.Popen(
                    words,
                    cwd=self.tree.project,
                    env=self._environment(),
                    # Ctrl-C is for this process, which hands it on and waits.
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            try:
                return process.wait()
            except BaseException:
                _stop(process)
                raise

    def _environment(self) -> dict[str, str]:
        found = environment()
        # Before an installed Optgauge, which may well be the user's own working tree.
        paths = [str(self.tree.project), found.get("PYTHONPATH", "")]
        found["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        # Two commits within a second may leave byte code that fits the file of neither.
        found["PYTHONDONTWRITEBYTECODE"] = "1"
        return found

    def _read(self, sha: str, report: Path, code: int) -> Step:
        if not (report / records.FILE).exists():
            return Step(sha, SKIP, f"exit {code}", reason=_said(report / "output.txt"))
        try:
            found = records.read(report)
        except RecordError as error:
            return Step(sha, SKIP, f"exit {code}", reason=str(error))
        measured = str(found.run.get("commit"))
        if measured != sha:
            reason = f"pytest ran the suites of {measured[:12]}, installed elsewhere"
            return Step(sha, SKIP, f"exit {code}", reason=reason)
        software = machine.software(found.run)
        asked = [one for one in found.verdicts if one["gate"] == "regression"]
        verdict = next((one for one in asked if one["id"] == self.question.cell), None)
        if verdict is None:
            reason = f"the run ended (exit {code}) before it answered"
            return Step(sha, SKIP, "no answer", reason=reason, software=software)
        word, reason = _WORDS.get(verdict["status"], SKIP), _reason(verdict)
        if word != SKIP and found.run.get("contaminated") and "speed" in self.question.gates:
            word, reason = SKIP, "contaminated: FP32 against its own copy came out different"
        return Step(
            sha,
            word,
            verdict["status"],
            numbers(verdict),
            names.plain(reason),
            limit=verdict.get("limit"),
            software=software,
        )


def _reason(verdict: Record) -> str:
    """Why a verdict is what it is: for a PASS, why a fall in speed is none of the artifact's."""
    passed = listing(mapping(verdict.get("evidence")).get("passed"))
    return str(verdict.get("reason") or "; ".join(map(str, passed)))


def numbers(verdict: Record) -> str:
    """What a regression verdict measured against the good run, in words."""
    evidence = mapping(verdict.get("evidence"))
    found = []
    if verdict.get("value") is not None:
        found.append(f"speed {_factor(verdict['value'])}{_inside(verdict, _factor)}")
    if number(evidence.get("size")) is not None:
        found.append(f"size {_factor(evidence['size'])}")
    accuracy = mapping(evidence.get("accuracy"))
    if number(accuracy.get("drop")) is not None:
        drop = formats.POINTS(accuracy["drop"])
        found.append(f"score −{drop}{_inside(accuracy, formats.POINTS)}")
    return ", ".join(found)


def _inside(one: Record, form: Any) -> str:
    if number(one.get("low")) is None or number(one.get("high")) is None:
        return ""
    return f" [{form(one['low'])}, {form(one['high'])}]"


def _factor(value: float) -> str:
    return f"{value:.3f}×"


def _said(path: Path) -> str:
    """The line of pytest's output that tells why it measured nothing."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    lines = [line for line in lines if line and "usage: " not in line]
    for mark in (": error: ", "ERROR: ", "E  "):
        told = next((line for line in lines if mark in line), None)
        if told:
            return names.plain(names.first_line(told.rpartition(mark)[2]))
    return names.plain(names.first_line(lines[-1])) if lines else "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a run as Ctrl-C would; at once where that takes too long, or is asked for again."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        process.wait(PATIENCE)
    with signals.held(), contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
