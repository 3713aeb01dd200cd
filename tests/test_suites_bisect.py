"""`reports bisect` over commits of this project itself: what grew, and what became slower."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bisect_stand_in import git
from running import ROOT, SLOWDOWNS

from reports import records
from reports.history.store import History

PARTS = ("zoo", "optimizers", "gauge", "suites", "reports")
FILES = ("conftest.py", "pyproject.toml", ".gitignore")
CELL = "digits_mlp-growing-cpu"
PLUGIN = """
import json

import optimizers
from optimizers.eager import EagerModule

BYTES, CALLS = {bytes}, {calls}


class Growing(EagerModule):
    def __call__(self, x):
        for _ in range(self.calls):
            answer = self.module(x)
        return answer

    def save(self, directory):
        super().save(directory)
        (directory / "more.bin").write_bytes(bytes(BYTES))
        (directory / "calls.json").write_text(json.dumps(self.calls))

    @classmethod
    def load(cls, directory, target):
        loaded = super().load(directory, target)
        loaded.calls = json.loads((directory / "calls.json").read_text())
        return loaded


@optimizers.register
class GrowingTechnique(optimizers.Technique):
    name = "growing"
    family = "planted"
    changes = "numerics"
    claims = ("unchanged",)

    def apply(self, module, context):
        made = Growing(module)
        made.calls = CALLS
        return made
"""
SMALL, LARGE = 1000, 2_000_000


class Project:
    """A repository of this project's code with a plug-in that its commits change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.around = folder
        self.folder.mkdir()
        for part in PARTS:
            ignored = shutil.ignore_patterns("__pycache__", "out")
            shutil.copytree(ROOT / part, self.folder / part, ignore=ignored)
        for name in FILES:
            shutil.copy(ROOT / name, self.folder)
        (self.folder / "policy.toml").write_text(SLOWDOWNS)
        git(self.folder, "init", "-q", "-b", "main")

    def commit(self, subject: str, plugin: str | None = None, **told: int) -> str:
        """Commit a state of the plug-in; returns the commit."""
        source = plugin or PLUGIN
        for name, value in told.items():
            source = source.replace(f"{{{name}}}", str(value))
        (self.folder / "growing.py").write_text(source)
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "--allow-empty", "-m", subject)
        return git(self.folder, "rev-parse", "HEAD")

    def python(self, *words: str) -> tuple[int, str]:
        """Run a module as a user does in the project: exit code, what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return done.returncode, done.stdout + done.stderr

    def measure(self, gates: str, *words: str) -> str:
        """Run the suites on what is checked out, into the history; the run's name."""
        told = ["--history", str(self.around / "history"), "--report", str(self.around / "report")]
        told += ["--model=digits_mlp", "--technique=growing", "--plugin=growing.py"]
        told += ["--cache", str(self.around / "cache"), "--effort=quick", "-k", gates, *words]
        _, text = self.python("pytest", "suites", "-p", "no:cacheprovider", *told)
        assert (self.around / "report" / records.FILE).exists(), text
        run = records.read(self.around / "report").run
        assert (run["dirty"], run["complete"]) == (False, True), text
        return run["run"]

    def bisect(self, *words: str, effort: str = "quick") -> tuple[int, str]:
        told = ["--history", str(self.around / "history"), "--cache", str(self.around / "cache")]
        more = ["--out", str(self.around / "out"), "--", "--plugin=growing.py"]
        more.append(f"--effort={effort}")
        return self.python("reports", "bisect", *words, *told, *more)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("bisect"))


@pytest.fixture(scope="module")
def commits(project: Project) -> dict[str, Any]:
    """Commits of which one made the artifact larger and a later one made it slower."""
    quick = {"bytes": SMALL, "calls": 1}
    found = {"good": project.commit("Add a technique", **quick)}
    found["good run"] = project.measure("size or regression")
    project.commit("Break it", "import no_such_module\n" + PLUGIN, **quick)
    project.commit("Leave it broken", "import no_such_module_either\n" + PLUGIN, **quick)
    project.commit("Mend it", **quick)
    found["grown"] = project.commit("Keep what nobody asked for", bytes=LARGE, calls=1)
    found["bad"] = project.commit("Say what it is for", bytes=LARGE, calls=1)
    found["bad run"] = project.measure("size or speed or regression")
    found["slow"] = project.commit("Be thorough", bytes=LARGE, calls=12)
    found["slow run"] = project.measure("speed or regression")
    return found


@pytest.fixture
def untouched(project: Project) -> Iterator[None]:
    """The user's tree is the same before and after, and no worktree is left."""
    before = git(project.folder, "rev-parse", "HEAD")
    yield
    assert git(project.folder, "rev-parse", "HEAD") == before
    assert git(project.folder, "status", "--porcelain") == ""
    assert git(project.folder, "worktree", "list", "--porcelain").count("worktree ") == 1


def test_the_commit_that_made_an_artifact_larger_is_named(project, commits, untouched):
    code, text = project.bisect(commits["good run"], commits["bad run"])
    assert code == 0, text
    assert f"first bad commit: {commits['grown']}\n" in text
    assert "Keep what nobody asked for\n" in text
    assert "growing.py | 2 +-" in text
    assert f"which of 5 commits made {CELL} worse in size?" in text
    # The broken ones gave no answer, and say why.
    assert "no_such_module" in text
    code, again = project.bisect(commits["good run"], commits["bad run"])
    assert code == 0
    assert again.count("asked before") == text.count(" s\n")


def test_the_commit_that_made_it_slower_is_named(project, commits, untouched):
    """Both artifacts in turns: the earlier one is kept by its SHA-256."""
    history = project.around / "history"
    accept = ("accept", commits["bad run"], "--yes", "--history", str(history))
    assert project.python("reports", *accept)[0] == 0
    code, text = project.bisect(effort="standard")
    assert code == 0, text
    assert f"made {CELL} worse in speed?" in text
    assert f"first bad commit: {commits['slow']}\n" in text
    assert (
        "both artifacts timed in turns here" in (project.around / "out" / "steps.json").read_text()
    )
    # What was measured is not added to the history.
    assert len(History.open(history).names) == 3
