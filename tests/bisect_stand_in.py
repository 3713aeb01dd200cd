"""A repository whose suites answer at once what a file of the commit says: to bisect in seconds.

It is as real as a step sees one: pytest runs, takes the options, and leaves a record. ASKED names a
file in which each commit that is asked leaves a line.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import history_generated as generated
import reports_fixtures as fixtures

from reports.history.store import History

MODEL, TECHNIQUE = "resnet18", "t"
CELL = f"{MODEL}-{TECHNIQUE}-cpu"

CONFTEST = """
import json, os, subprocess, time
from pathlib import Path

HERE = Path(__file__).parent
OPTIONS = "model technique target history cache report threads effort batch seed plugin".split()

def pytest_addoption(parser):
    for name in OPTIONS:
        parser.addoption(f"--{name}", action="append")

def pytest_sessionstart(session):
    told = json.loads((HERE / "answer.json").read_text())
    git = ["git", "-C", str(HERE), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    with open(os.environ["ASKED"], "a") as file:
        file.write(commit + "\\n")
    time.sleep(told.get("sleep", 0))
    (HERE / "left_behind.txt").write_text("by the run")
    (HERE / "answer.json").write_text("{}")
    if told.get("silent"):
        return
    lines = (HERE / "record.jsonl").read_text().split("\\n")
    header, verdict = map(json.loads, lines)
    header |= {"commit": commit, **told.get("header", {})}
    verdict |= told["verdict"]
    lines = [json.dumps(one) + "\\n" for one in (header, verdict)]
    Path(session.config.option.report[0], "records.jsonl").write_text("".join(lines))
"""


def git(folder: Path, *words: str) -> str:
    """A git command in a folder: what it prints."""
    names = ["-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always"]
    command = ["git", "-C", str(folder), *names, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def answer(status: str, size: float | None = None, **header: Any) -> dict[str, Any]:
    """What a commit answers, with the size against the good run's."""
    reason = None if status == "PASS" else f"planted {status}"
    evidence = {} if size is None else {"size": size}
    return {
        "verdict": {"status": status, "reason": reason, "evidence": evidence},
        "header": header,
    }


GOOD, BAD = answer("PASS", 1.0), answer("FAIL", 1.5)


class StandIn:
    """The repository, its commits in order, and a history with runs of the first and the last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.asked_file = folder / "asked.txt"
        self.history = History.open(folder / "history", create=True)
        (self.folder / "suites").mkdir(parents=True)
        (self.folder / "conftest.py").write_text(CONFTEST)
        (self.folder / "suites" / "test_gates.py").write_text("def test_it(): pass\n")
        verdict = fixtures.verdict(MODEL, TECHNIQUE, "size", value=None)
        lines = [generated.header(9), {**verdict, "gate": "regression"}]
        lines[1]["run"] = lines[0]["run"]
        (self.folder / "record.jsonl").write_text("\n".join(map(json.dumps, lines)))
        git(self.folder, "init", "-q", "-b", "main")
        self.commits: list[str] = []

    def commit(self, told: dict[str, Any]) -> str:
        """Add a commit that answers so."""
        number = len(self.commits)
        (self.folder / "answer.json").write_text(json.dumps({"number": number, **told}))
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-qm", f"Change number {number}")
        self.commits.append(git(self.folder, "rev-parse", "HEAD"))
        return self.commits[-1]

    def run(self, number: int, commit: str | None, **changes: Any) -> str:
        """Add a run to the history, as it was measured on a commit."""
        given = {"ratios": {TECHNIQUE: 4.0}, "commit": commit, **changes}
        return generated.add(self.history, number, **given)

    def runs(self, **changes: Any) -> tuple[str, str]:
        """The good run and the bad one: the size of the cell grew."""
        good = self.run(1, self.commits[0])
        bad = self.run(2, **{"commit": self.commits[-1], "size": 0.75, **changes})
        self.history.accept(good)
        return good, bad

    @property
    def asked(self) -> list[int]:
        """The commits that were asked, by number, in order."""
        text = self.asked_file.read_text() if self.asked_file.exists() else ""
        return [self.commits.index(sha) for sha in text.split()]

    @property
    def untouched(self) -> bool:
        """Whether the user's tree is as it was, and no other worktree is left."""
        listed = git(self.folder, "worktree", "list", "--porcelain").count("worktree ")
        return git(self.folder, "status", "--porcelain") == "" and listed == 1
