"""--changed-since: only cells whose own code differs from a commit, in a clone as CI makes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT

PARTS = ("zoo", "optimizers", "gauge", "suites", "reports")
FILES = ("conftest.py", "pyproject.toml", "policy.toml")
SELECTED = ("--model=digits_mlp", "--model=lstm", "--technique=none", "--technique=low_rank:0.5")
CELLS = {
    f"{model}-{technique}-cpu"
    for model in ("digits_mlp", "lstm")
    for technique in ("none", "low_rank:0.5")
}


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", "-C", str(folder), *names, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the project's code with one commit."""
    folder = tmp_path_factory.mktemp("original")
    for part in PARTS:
        ignored = shutil.ignore_patterns("__pycache__", "out")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def clone(original: Path, tmp_path: Path) -> Path:
    """As CI clones: the newest commit and nothing before it."""
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{original}", "clone")
    return tmp_path / "clone"


def collect(folder: Path, *words: str) -> tuple[int, set[str], str]:
    """Exit code, the cells that are left, and what was printed."""
    command = [sys.executable, "-m", "pytest", "suites", "--co", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(words or ("--changed-since", "HEAD")), *SELECTED],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder.parent)},
    )
    names = [
        line.partition("[")[2].rstrip("]") for line in done.stdout.splitlines() if "::" in line
    ]
    cells = {name.removesuffix("-b1").removesuffix("-b32") for name in names}
    return done.returncode, cells, done.stdout + done.stderr


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "\n# edited\n")


def test_nothing_changed_is_exit_code_5_and_says_so(clone):
    code, cells, text = collect(clone)
    assert (code, cells) == (pytest.ExitCode.NO_TESTS_COLLECTED, set()), text
    assert "--changed-since HEAD: no code of 4 cells changed" in text


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("zoo/digits_mlp.py", {one for one in CELLS if one.startswith("digits_mlp")}),
        ("optimizers/low_rank.py", {one for one in CELLS if "low_rank" in one}),
        ("optimizers/pipeline.py", CELLS),
        ("gauge/targets/cpu.py", CELLS),
        ("pyproject.toml", CELLS),
    ],
)
def test_a_changed_file_is_measured_where_it_is_used(clone, name, changed):
    edit(clone / name)
    code, cells, text = collect(clone)
    assert (code, cells) == (0, changed), text


def test_a_helper_that_only_one_model_imports_changes_that_model(clone):
    edit(clone / "zoo" / "mnist.py")
    _, cells, _ = collect(clone)
    assert cells == {one for one in CELLS if one.startswith("lstm")}


def test_limits_and_the_harness_change_no_cell_and_are_named(clone):
    edit(clone / "policy.toml")
    edit(clone / "gauge" / "paired.py")
    (clone / "suites" / "new.py").write_text("")
    (clone / "notes.md").write_text("new")
    code, cells, text = collect(clone)
    assert (code, cells) == (pytest.ExitCode.NO_TESTS_COLLECTED, set()), text
    assert "how cells are measured has changed too (gauge/paired.py, suites/new.py)" in text
    assert "policy.toml has changed too" in text


def test_a_commit_counts_once_it_is_fetched_and_says_how_before(original, tmp_path):
    earlier = git(original, "rev-parse", "HEAD")
    edit(original / "zoo" / "lstm.py")
    git(original, "commit", "-qam", "second")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{original}", "clone")
    git(original, "reset", "-q", "--hard", earlier)
    clone = tmp_path / "clone"
    code, _, text = collect(clone, "--changed-since", "HEAD^")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "git finds no commit 'HEAD^' here" in text
    assert "git fetch --depth 1 origin COMMIT" in text
    git(clone, "fetch", "-q", "--depth", "1", "origin", earlier)
    code, cells, text = collect(clone, "--changed-since", earlier)
    assert (code, cells) == (0, {one for one in CELLS if one.startswith("lstm")}), text


def test_a_plug_in_from_elsewhere_and_a_new_file_have_changed(clone, tmp_path):
    plugin = tmp_path / "own.py"
    shutil.copy(ROOT / "examples" / "my_technique.py", plugin)
    new = (clone / "optimizers" / "low_rank.py").read_text()
    (clone / "optimizers" / "lower_rank.py").write_text(new.replace('"low_rank"', '"lower_rank"'))
    words = ("--changed-since", "HEAD", f"--plugin={plugin}")
    words += ("--technique=lower_rank:0.5", "--technique=round_weights")
    code, cells, text = collect(clone, *words)
    techniques = {one.split("-")[1].partition(":")[0] for one in cells}
    assert (code, techniques) == (0, {"lower_rank", "round_weights"}), text


def test_without_git_it_says_so(clone):
    shutil.rmtree(clone / ".git")
    code, _, text = collect(clone)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--changed-since: git finds no commit 'HEAD' here" in text
