"""git's part of a bisect: the commits between two, and a worktree of one's own to check them out.

The user's working tree, index and HEAD are never touched, and none of their hooks runs. The refs of
a bisect are the worktree's own, so that one that the user is in the middle of goes on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reports.history import signals
from reports.records import RecordError

# A watcher of the file system would outlive the worktree, and hold on to what git was given.
_OWN = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false")
_ELSEWHERE = (
    "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX GIT_COMMON_DIR GIT_OBJECT_DIRECTORY"
).split()
"""What git sets for hooks and aliases, and what would lead it to another repository here."""


def environment() -> dict[str, str]:
    """This process's environment without what names another repository."""
    return {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}


def command(folder: Path, *words: str) -> list[str]:
    """A git command in a folder that runs no hooks."""
    return ["git", "-C", str(folder), *_OWN, *words]


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command(folder, *words),
            capture_output=True,
            env=environment(),
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise RecordError(None, None, f"git does not run here ({error})", "install it") from error


def git(folder: Path, *words: str) -> str:
    """What a git command prints; RecordError with what it says where it fails."""
    done = _run(folder, *words)
    if done.returncode:
        said = " ".join(done.stderr.split())[:300]
        raise RecordError(folder, None, f"git {words[0]} failed ({said})", "see what git says")
    return done.stdout.strip()


@dataclass(frozen=True)
class Commit:
    """One commit. date: when it was written, as 2026-11-25."""

    sha: str
    date: str
    subject: str

    @property
    def short(self) -> str:
        return self.sha[:12]


@dataclass(frozen=True)
class Repository:
    """A git repository. folder: its working tree; inside: the project's folder below that."""

    folder: Path
    inside: str

    @classmethod
    def around(cls, project: Path) -> Repository:
        """The repository that holds a project; RecordError where none does."""
        advice = "go to the folder of the project, in a clone of its repository"
        done = _run(project, "rev-parse", "--show-toplevel", "--show-prefix")
        if done.returncode:
            said = " ".join(done.stderr.split())[:200]
            raise RecordError(project, None, f"git finds no repository here ({said})", advice)
        if not (project / "suites").is_dir():
            raise RecordError(project, None, "there is no suites/ here", advice)
        top, _, inside = done.stdout.partition("\n")
        return cls(Path(top), inside.strip())

    def check(self, good: str, bad: str) -> None:
        """RecordError where the commits are not both here, the good one an ancestor of the bad."""
        shallow = git(self.folder, "rev-parse", "--is-shallow-repository") == "true"
        for sha in (good, bad):
            if _run(self.folder, "cat-file", "-e", f"{sha}^{{commit}}").returncode:
                what = f"the commit {sha[:12]} is not in this repository"
                advice = "git fetch --unshallow" if shallow else "git fetch --all"
                shape = ", a shallow clone" if shallow else ""
                raise RecordError(self.folder, None, what + shape, f"`{advice}` may bring it")
        if _run(self.folder, "merge-base", "--is-ancestor", good, bad).returncode:
            what = f"GOOD's commit {good[:12]} is no ancestor of BAD's {bad[:12]}"
            advice = "name two runs of one line of commits, the earlier one first"
            if shallow:
                what = f"this clone is too shallow to lead from {good[:12]} to {bad[:12]}"
                advice = "`git fetch --unshallow`"
            raise RecordError(self.folder, None, what, advice)

    def between(self, good: str, bad: str) -> int:
        """How many commits may be the first bad one."""
        return int(git(self.folder, "rev-list", "--count", bad, f"^{good}"))

    def commit(self, sha: str) -> Commit:
        """A commit's date and subject."""
        told = git(self.folder, "log", "-1", "--no-show-signature", "--format=%H%n%as%n%s", sha)
        return Commit(*[*told.split("\n", 2), ""][:3])

    def diffstat(self, sha: str) -> str:
        """What a commit changes against its (first) parent, a line a file."""
        return git(self.folder, "diff", "--no-ext-diff", "--stat=100", f"{sha}^", sha)

    @contextlib.contextmanager
    def worktree(self, sha: str) -> Iterator[Worktree]:
        """A worktree in a temporary folder, gone afterwards however it ends."""
        place = Path(tempfile.mkdtemp(prefix="optgauge-bisect-")).resolve()
        tree = place / "tree"
        try:
            git(self.folder, "worktree", "add", "--quiet", "--detach", str(tree), sha)
            yield Worktree(self, place, tree)
        finally:
            with signals.held():
                _run(self.folder, "worktree", "remove", "--force", str(tree))
                shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True)
class Worktree:
    """Where commits are checked out. place: a temporary folder around it, for what else is made."""

    repository: Repository
    place: Path
    folder: Path

    @property
    def project(self) -> Path:
        """The project's folder in it."""
        return self.folder / self.repository.inside

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return git(self.folder, "rev-parse", "HEAD")

    def check_out(self, sha: str) -> None:
        """Put a commit's files there."""
        git(self.folder, "checkout", "--quiet", "--force", "--detach", sha)

    def clean(self) -> None:
        """Remove what running the commit left: the next one finds its own files and no others."""
        git(self.folder, "reset", "--quiet", "--hard")
        git(self.folder, "clean", "--quiet", "-ffdx")
