"""Name the commit between two runs that made a cell worse.

It drives `git bisect run` in a worktree of its own: your working tree, index and HEAD stay as they
are. Each step runs `pytest suites/` of a commit against the run GOOD, whose artifact is timed
beside that commit's in turns, and is good where the gate `regression` passes and bad where it
fails; a commit that gives no answer is skipped. First it is seen that BAD fails here and that GOOD
does not. Packages stay as they are installed. Words after `--` go to pytest:

    python -m reports bisect accepted last --cell vit-openvino-cpu -- --effort thorough

Answers are kept in --out, so that the same command goes on where it was stopped. Exit code: 0
found, 1 not confirmed here or not to be decided, 2 interrupted, 4 for wrong use.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from reports import formats, names
from reports.commands import _history
from reports.history import artifacts, bisecting, machine, question, side, signals
from reports.history.bisecting import Steps
from reports.history.measuring import BAD, GOOD, SKIP, Measuring, Step
from reports.history.side import Side
from reports.history.worktree import Repository, Worktree

INTERRUPTED = 2
SUBJECT = 44


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "good",
        metavar="GOOD",
        nargs="?",
        default="accepted",
        help=f"the run in which it was good (default: accepted): {_history.RUN}",
    )
    parser.add_argument(
        "bad",
        metavar="BAD",
        nargs="?",
        default="last",
        help="the run in which it was bad (default: last), in the same way; or a folder that "
        "--report wrote",
    )
    _history.option(parser)
    parser.add_argument(
        "--cell",
        metavar="CELL",
        help="the cell, such as vit-openvino-cpu (default: the only one that became worse)",
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        default=None,
        help="where artifacts are kept (default: that of `pytest suites/`)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("bisect"),
        help="where answers and the reports of each step go (default: bisect)",
    )
    parser.set_defaults(words=[])


def run(options: argparse.Namespace) -> int:
    index = _history.read(options.history)
    history = index.history
    assert history is not None
    good = side.of_run(index, history.resolve(options.good))
    bad = side.find(index, options.bad)
    commits = question.commit_of(good), question.commit_of(bad)
    asked = question.question(good, bad, options.cell, options.words)
    repository = Repository.around(Path.cwd())
    if commits[0] == commits[1]:
        print(f"both runs measured the commit {commits[0][:12]}: no other can have made it worse")
        _tell(f"software of {good.name}, then of {bad.name}", _differing(good, bad))
        return 1
    repository.check(*commits)
    cache = (options.cache or artifacts.default_cache()).absolute()
    timed = "speed" in asked.gates
    kept = question.artifact(history, good, asked.cell, cache) if timed else None
    steps = Steps(options.out.absolute())
    number = repository.between(*commits)
    print(f"{good.name} ({commits[0][:12]}), then {bad.name} ({commits[1][:12]}):")
    print(
        f"which of {formats.count(number, 'commit')} made {asked.cell} worse in "
        f"{' or '.join(asked.gates)}? About {formats.count(_about(number), 'step')}",
        flush=True,
    )
    try:
        with signals.as_interrupts(), repository.worktree(commits[1]) as tree:
            measuring = Measuring(asked, tree, cache, options.out.absolute())
            measuring.prepare(history, kept)
            return _Bisect(good, bad, tree, measuring, steps).run(*commits)
    except KeyboardInterrupt:
        print(f"\ninterrupted; answers so far are in {options.out}: the same command goes on")
        return INTERRUPTED


def _about(number: int) -> int:
    """Steps: both ends, and a halving each."""
    return 2 + math.ceil(math.log2(number))


class _Bisect:
    """A bisect as it is told in the terminal."""

    def __init__(
        self, good: Side, bad: Side, tree: Worktree, measuring: Measuring, steps: Steps
    ) -> None:
        self.good, self.bad = good, bad
        self.tree, self.measuring, self.steps = tree, measuring, steps
        self.repository = tree.repository
        self.answers: dict[str, Step] = {}

    def run(self, good: str, bad: str) -> int:
        """Both ends, then what lies between; the exit code."""
        for sha, wanted, what in ((bad, BAD, "BAD"), (good, GOOD, "GOOD")):
            self.tree.check_out(sha)
            step = self._ask(sha, what)
            if step.word != wanted:
                for line in self._unconfirmed(step, what):
                    print(line)
                return 1
        self.tree.check_out(bad)
        left = bisecting.candidates(self.tree, good, bad, self._ask, self.steps.folder / "git.txt")
        for line in self._found(left):
            print(line)
        return 0 if len(left) == 1 else 1

    def _ask(self, sha: str, what: str = "") -> Step:
        """The answer of the commit that is checked out, as it was kept or measured now."""
        commit = self.repository.commit(sha)
        subject = names.short(names.plain(commit.subject), SUBJECT)
        print(f"{what:4} {commit.short} {subject:{SUBJECT}} ", end="", flush=True)
        step = self.steps.of(self.measuring.question, sha)
        before = step is not None
        if step is None:
            step = self.measuring.ask(sha)
            self.steps.add(self.measuring.question, step)
        self.answers[sha] = step
        time = "asked before" if before else f"{step.seconds:.0f} s"
        told = ", ".join(filter(None, [step.status, step.numbers, time]))
        print(f"{step.word}: {told}", flush=True)
        if step.word == SKIP:
            print(f"     {step.reason}", flush=True)
        return step

    def _unconfirmed(self, step: Step, what: str) -> Iterator[str]:
        """Why there is nothing to look for: an end is not what the runs say."""
        run = self.good if what == "GOOD" else self.bad
        told = f"{step.status}{f': {step.reason}' if step.reason else ''}"
        if what == "BAD":
            yield f"not confirmed here: the commit of {run.name} does not fail ({told})"
        elif step.word == BAD:
            yield f"the commit of {run.name} fails here too ({told}):"
            yield "what made it worse lies outside the repository"
        else:
            yield f"the commit of {run.name} does not pass here ({told})"
        here = dict(step.software)
        for one in (self.good, self.bad) if here else ():
            changed = machine.differing(machine.software(one.run), here)
            yield f"software of {one.name}, then here: {'; '.join(changed) or 'the same'}"
        report = self.measuring.report(step.commit)
        yield f"its report: {report}"

    def _found(self, left: list[str]) -> Iterator[str]:
        """The first bad commit, or those that may be it."""
        if len(left) == 1:
            commit = self.repository.commit(left[0])
            yield f"\nfirst bad commit: {commit.sha}"
            yield f"{commit.date}  {names.plain(commit.subject)}"
            yield self.repository.diffstat(commit.sha)
            yield f"\ngit show {commit.short}"
        else:
            yield f"\nnot decided: one of these {len(left)} commits made it worse"
            for commit in map(self.repository.commit, left):
                yield f"{commit.short} {commit.date}  {names.plain(commit.subject)}"
            yield "`-- --effort thorough` decides closer calls; another --out asks all of them anew"
        yield from self._doubts()

    def _doubts(self) -> Iterator[str]:
        """What was not the same for all answers."""
        sure = [one for one in self.answers.values() if one.word != SKIP]
        first = sure[0]
        if len({str((one.limit or {}).get("min")) for one in sure}) > 1:
            yield "note: commits hold the gate `regression` to different limits (policy.toml)"
        changed = [machine.differing(first.software, one.software) for one in sure]
        if any(changed):
            told = "; ".join(dict.fromkeys(line for one in changed for line in one))
            yield f"note: the software changed between steps: {told}"


def _differing(good: Side, bad: Side) -> list[str]:
    return machine.differing(machine.software(good.run), machine.software(bad.run))


def _tell(what: str, found: list[str]) -> None:
    print(f"{what}: {'; '.join(found) or 'the same'}")
