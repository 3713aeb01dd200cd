"""Which commit made a cell worse: `git bisect run`, whose command asks this process for its answer.

What git runs is two lines of shell: they say that a commit is checked out, and end with the exit
code that they are told. So a failure in here ends the bisect and never counts as a bad commit, and
nobody's edits to the reports' own code meanwhile do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from reports import records
from reports.history.measuring import BAD, GOOD, SKIP, Step
from reports.history.question import Question
from reports.history.worktree import Worktree, command, environment, git
from reports.plain import mapping
from reports.records import RecordError

FILE = "steps.json"
VERSION = 1
SECONDS = 20.0
"""How long git may take to end once it has its last answer."""

_CODES = {GOOD: 0, BAD: 1, SKIP: 125}
"""What `git bisect run` makes of an exit code; from 128 up it stops."""


class Steps:
    """The steps of earlier bisects in an output folder, by question and commit."""

    def __init__(self, folder: Path) -> None:
        """RecordError for a folder whose steps cannot be read, or that cannot be written."""
        self.folder = folder
        self._kept: dict[str, Any] = {}
        path = folder / FILE
        if path.exists():
            self._kept = _read(path)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".gitignore").exists():
            records.replace(folder / ".gitignore", b"*\n")

    def of(self, question: Question, sha: str) -> Step | None:
        """What a commit answered before."""
        kept = mapping(mapping(self._kept.get(question.digest)).get("steps"))
        return Step.from_record(kept[sha]) if sha in kept else None

    def add(self, question: Question, step: Step) -> None:
        """Keep an answer, on the disk at once."""
        asked = {"question": question.record(), "steps": {}}
        kept = self._kept.setdefault(question.digest, asked)
        kept["steps"][step.commit] = step.record()
        content = {"kind": "bisect", "schema": VERSION, "bisects": self._kept}
        records.replace(self.folder / FILE, json.dumps(content, indent=1).encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = mapping(json.loads(path.read_text()))
        newer = isinstance(found.get("schema"), int) and found["schema"] > VERSION
        wrong = "of a newer schema" if newer else None
        if found.get("kind") != "bisect" or not isinstance(found.get("bisects"), dict):
            wrong = wrong or "not the steps of a bisect"
    except (OSError, ValueError) as error:
        wrong = f"not strict JSON ({error})"
    if wrong:
        raise RecordError(path, None, wrong, "remove it to measure anew, or name another --out")
    return found["bisects"]


def candidates(
    tree: Worktree, good: str, bad: str, ask: Callable[[str], Step], log: Path
) -> list[str]:
    """The commits that may be the first bad one, the newest first; one where it is found.

    ask: what a commit that is checked out answers. log: where git's own words go.
    """
    skipped = set()

    def answer(sha: str) -> int:
        step = ask(sha)
        if step.word == SKIP:
            skipped.add(sha)
        return _CODES[step.word]

    git(tree.folder, "bisect", "start", bad, good)
    left = _left(tree)
    if len(left) > 1:
        with log.open("wb") as file:
            _drive(tree, answer, file)
        left = _left(tree)
    # The newest is bad; without an answer for the others git has stopped for a reason of its own.
    if not skipped.issuperset(left[1:]):
        raise RecordError(log, None, "git bisect stopped early", "its last lines say why")
    return left


def _left(tree: Worktree) -> list[str]:
    """Reachable from the bad commit, and from none that is good."""
    return git(tree.folder, "log", "--bisect", "--format=%H").split()


def _drive(tree: Worktree, answer: Callable[[str], int], log: IO[bytes]) -> None:
    asked, asking = os.pipe()
    answering, answered = os.pipe()
    script = f'echo > /dev/fd/{asking} && read -r code < /dev/fd/{answering} && exit "$code"'
    words = command(tree.folder, "bisect", "run", "sh", "-c", f"{script}; exit 255")
    with os.fdopen(asked, "rb") as questions, os.fdopen(answered, "wb", buffering=0) as answers:
        try:
            # In a session of its own: Ctrl-C is this process's, which ends git by its silence.
            process = subprocess.Popen(
                words,
                cwd=tree.folder,
                env=environment(),
                pass_fds=(asking, answering),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        finally:
            os.close(asking)
            os.close(answering)
        try:
            for _ in questions:  # until git, and with it the last writer, is gone
                answers.write(b"%d\n" % answer(tree.head))
        except BaseException:
            answers.close()
            _end(process)
            raise
    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
