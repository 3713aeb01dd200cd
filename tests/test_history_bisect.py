"""`reports bisect` in a repository whose suites answer at once: what it names, says and leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import bisect_stand_in as stand
import pytest
from bisect_stand_in import BAD, CELL, GOOD, StandIn, answer, git
from running import ROOT

from reports.__main__ import main
from reports.history import signals


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(tmp_path)
    monkeypatch.setenv("ASKED", str(made.asked_file))
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def bisect(project, capsys, tmp_path):
    """Runs the command: exit code, and all that it printed."""

    def run(*words: str) -> tuple[int, str]:
        before = ["--history", str(project.history.path), "--out", str(tmp_path / "out")]
        at = words.index("--") if "--" in words else len(words)
        code = main(["bisect", *words[:at], *before, *words[at:]])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def plant(project: StandIn, answers: list[dict]) -> None:
    for one in answers:
        project.commit(one)


def test_the_commit_that_made_it_worse_is_named_and_nothing_else_is_touched(project, bisect):
    plant(project, [*[GOOD] * 5, BAD, BAD, BAD])
    project.runs()
    hook = project.folder / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {project.folder}/hooked\n")
    hook.chmod(0o755)
    # In the middle of a bisect of one's own.
    git(project.folder, "bisect", "start", "HEAD", project.commits[0])
    mine = git(project.folder, "rev-parse", "HEAD"), git(project.folder, "bisect", "log")
    (project.folder / "hooked").unlink()
    code, text = bisect()
    assert code == 0, text
    assert f"first bad commit: {project.commits[5]}\n" in text
    assert "Change number 5\n" in text
    assert "answer.json | 2 +-" in text
    assert f"git show {project.commits[5][:12]}\n" in text
    assert f"which of 7 commits made {CELL} worse in size? About 5 steps" in text
    assert f"BAD  {project.commits[7][:12]} Change number 7" in text
    assert "bad: FAIL, size 1.500×, " in text
    # Both ends, then halves.
    assert project.asked[:2] == [7, 0]
    assert len(project.asked) == len(set(project.asked)) <= 5
    now = git(project.folder, "rev-parse", "HEAD"), git(project.folder, "bisect", "log")
    assert (project.untouched, now) == (True, mine)


def test_uncommitted_work_stays_as_it_is(project, bisect, tmp_path):
    plant(project, [GOOD, BAD])
    project.runs()
    (project.folder / "answer.json").write_text("half done")
    (project.folder / "mine.txt").write_text("mine")
    code, text = bisect()
    assert code == 0, text
    assert (project.folder / "answer.json").read_text() == "half done"
    assert git(project.folder, "status", "--porcelain") == "M answer.json\n?? mine.txt"
    # --out lies in the project, usually: git shall not see it.
    assert (tmp_path / "out" / ".gitignore").read_text() == "*\n"


def test_answers_are_asked_once(project, bisect, tmp_path):
    plant(project, [GOOD, GOOD, BAD, BAD])
    project.runs()
    assert bisect()[0] == 0
    before = project.asked
    code, text = bisect()
    assert code == 0
    assert project.asked == before
    assert f"first bad commit: {project.commits[2]}" in text
    assert text.count("asked before") == len(before)
    # Another question is another matter; so is a step that is not whole.
    assert bisect("--", "--seed=3")[0] == 0
    assert len(project.asked) == 2 * len(before)
    kept = json.loads((tmp_path / "out" / "steps.json").read_text())
    for one in kept["bisects"].values():
        one["steps"][project.commits[3]] = {"word": "perhaps"}
    (tmp_path / "out" / "steps.json").write_text(json.dumps(kept))
    assert bisect()[0] == 0
    assert project.asked[2 * len(before) :] == [3]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not strict JSON"),
        ('{"kind": "history", "schema": 1}', "not the steps of a bisect"),
        ('{"kind": "bisect", "schema": 2, "bisects": {}}', "of a newer schema"),
    ],
)
def test_steps_that_cannot_be_read_are_named(project, bisect, tmp_path, content, said):
    plant(project, [GOOD, BAD])
    project.runs()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "steps.json").write_text(content)
    code, text = bisect()
    assert (code, project.asked) == (4, [])
    assert f"steps.json: {said}" in text
    assert "remove it to measure anew, or name another --out" in text


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"silent": True}, "skip: exit 5"),
        (answer("INCONCLUSIVE"), "planted INCONCLUSIVE"),
        (answer("ERROR"), "planted ERROR"),
        (answer("WAIVED"), "planted WAIVED"),
        (answer("FAIL", commit="0" * 40), "pytest ran the suites of 000000000000"),
    ],
)
def test_a_commit_without_an_answer_is_skipped(project, bisect, broken, said):
    plant(project, [GOOD, GOOD, broken, broken, GOOD, GOOD, BAD])
    project.runs()
    code, text = bisect()
    assert code == 0, text
    assert f"first bad commit: {project.commits[6]}" in text
    assert {2, 3} & set(project.asked)
    assert said in text


def test_commits_that_stay_undecided_are_listed(project, bisect):
    plant(project, [GOOD, GOOD, answer("INCONCLUSIVE"), answer("NO_BASELINE"), BAD, BAD])
    project.runs()
    code, text = bisect()
    assert code == 1
    told = text.partition("not decided: one of these 3 commits made it worse\n")[2]
    assert [line.split()[0] for line in told.splitlines()[:3]] == [
        one[:12] for one in reversed(project.commits[2:5])
    ]
    assert "--effort thorough" in told


def test_a_suite_that_knows_no_history_is_skipped_with_what_it_says(project, bisect):
    plant(project, [GOOD])
    conftest = project.folder / "conftest.py"
    conftest.write_text(conftest.read_text().replace("history ", ""))
    plant(project, [BAD, BAD])
    conftest.write_text(stand.CONFTEST)
    plant(project, [GOOD, BAD])
    project.runs()
    code, text = bisect()
    assert code == 0, text
    assert "unrecognized arguments: --history" in text
    assert f"first bad commit: {project.commits[4]}" in text


# The ends


def test_a_bad_run_that_passes_here_is_not_confirmed(project, bisect):
    same = answer("PASS")
    same["verdict"]["evidence"]["passed"] = ["the artifact is the same, byte for byte"]
    plant(project, [GOOD, GOOD, same])
    _, bad = project.runs()
    code, text = bisect()
    assert (code, project.asked) == (1, [2])
    assert f"not confirmed here: the commit of {bad} does not fail (PASS: the artifact is" in text
    assert project.untouched


def test_a_good_run_that_fails_here_tells_what_differs_outside(project, bisect):
    newer = {"torch": "2.15.0"}
    plant(project, [answer("FAIL", 1.2, versions=newer), *[answer("FAIL", 1.3, versions=newer)]])
    good, bad = project.runs(versions=newer)
    code, text = bisect()
    assert (code, project.asked) == (1, [1, 0])
    assert f"the commit of {good} fails here too (FAIL: planted FAIL)" in text
    assert "lies outside the repository" in text
    assert f"software of {good}, then here: torch: 2.14.1, then 2.15.0;" in text
    assert f"software of {bad}, then here: the same" in text


def test_runs_of_one_commit_say_what_else_differs(project, bisect):
    plant(project, [GOOD])
    project.runs(versions={"torch": "2.15.0"})
    code, text = bisect()
    assert (code, project.asked) == (1, [])
    assert "both runs measured the commit" in text
    assert "torch: 2.14.1, then 2.15.0" in text


def test_a_contaminated_step_has_no_answer_where_times_are_asked(project, bisect, tmp_path):
    plant(project, [GOOD, answer("FAIL", contaminated=True)])
    keep_artifact(project, tmp_path / "cache")
    words = ("--cache", str(tmp_path / "cache"))
    code, text = bisect(*words)
    assert code == 1
    assert "contaminated: FP32 against its own copy came out different" in text


# What is asked


def keep_artifact(project: StandIn, cache: Path) -> tuple[str, str]:
    """Runs whose speed fell, and the good one's artifact in a cache."""
    folder = cache / "artifacts" / ("k" * 32) / "artifact"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    known = {CELL: {"sha256": hashlib.sha256(b"{}").hexdigest(), "key": "k" * 64}}
    good = project.run(1, project.commits[0], artifacts=known)
    bad = project.run(2, project.commits[-1], ratios={"t": 3.0})
    project.history.accept(good)
    return good, bad


def words_asked(tmp_path: Path) -> list[str]:
    kept = json.loads((tmp_path / "out" / "steps.json").read_text())
    (one,) = kept["bisects"].values()
    return one["question"]["words"]


def test_a_time_is_asked_as_the_good_run_took_it(project, bisect, tmp_path):
    plant(project, [GOOD, BAD])
    keep_artifact(project, tmp_path / "cache")
    code, text = bisect("--cache", str(tmp_path / "cache"), "--", "--effort=quick")
    assert code == 0, text
    assert f"made {CELL} worse in speed?" in text
    cell = ["--model", "resnet18", "--technique", "t", "--target", "cpu"]
    asked = [*cell, "--threads", "1", "--effort", "standard", "--batch", "1"]
    assert words_asked(tmp_path) == [*asked, "-k", "regression or speed", "--effort=quick"]


def test_the_good_artifact_must_be_kept(project, bisect, tmp_path):
    plant(project, [GOOD, BAD])
    good, _ = keep_artifact(project, tmp_path / "cache")
    code, text = bisect("--cache", str(tmp_path / "elsewhere"))
    assert (code, project.asked) == (4, [])
    assert f"is neither in {project.history.path}/artifacts nor in the cache" in text
    assert f"`python -m reports accept {good} --artifacts CACHE` keeps it" in text
    accept = ["accept", good, "--artifacts", str(tmp_path / "cache"), "--yes"]
    assert main([*accept, "--history", str(project.history.path)]) == 0
    assert bisect("--cache", str(tmp_path / "elsewhere"))[0] == 0


def test_a_cell_that_is_named_is_asked_everything_where_nothing_became_worse(
    project, bisect, tmp_path
):
    plant(project, [GOOD, BAD])
    keep_artifact(project, tmp_path / "cache")
    bad = project.run(3, project.commits[-1])
    words = ("--cache", str(tmp_path / "cache"))
    code, text = bisect("accepted", bad, *words)
    assert code == 4
    assert "nothing to bisect: no speed, accuracy or size became worse from" in text
    code, text = bisect("accepted", bad, "--cell", CELL, *words)
    assert code == 0, text
    assert words_asked(tmp_path)[-1] == "regression or accuracy or size or speed"


def test_several_cells_are_listed(project, bisect):
    plant(project, [GOOD, BAD])
    two = {"t": 4.0, "other": 4.0}
    project.history.accept(project.run(1, project.commits[0], ratios=two))
    project.run(2, project.commits[1], ratios=two, size=0.75)
    code, text = bisect()
    assert (code, project.asked) == (4, [])
    assert "2 cells became worse" in text
    assert f"{CELL} size: 0.50×, then 0.75×" in text
    assert "resnet18-other-cpu size" in text
    assert "name one of them with --cell" in text
    assert bisect("--cell", CELL)[0] == 0
    code, text = bisect("--cell", "resnet18-nix-cpu")
    assert code == 4
    assert "has no cell 'resnet18-nix-cpu'; there are: resnet18-other-cpu" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"commit": None}, "names no commit"),
        ({"dirty": True}, "was measured with uncommitted changes on"),
        ({"commit": "f" * 40}, "the commit ffffffffffff is not in this repository; `git fetch"),
        ({"models": {"resnet18": {"sha256": "f" * 64}}}, "resnet18: baseline model changed"),
        ({"machine": {"cpu": "another"}}, "the machines differ"),
    ],
)
def test_runs_that_cannot_be_bisected_say_why(project, bisect, changes, said):
    plant(project, [GOOD, BAD])
    project.runs(**changes)
    words = ("--cell", CELL) if "models" in changes else ()
    code, text = bisect(*words)
    assert (code, project.asked) == (4, [])
    assert said in text


def test_the_earlier_commit_comes_first(project, bisect):
    plant(project, [GOOD, BAD])
    project.history.accept(project.run(1, project.commits[1]))
    project.run(2, project.commits[0], size=0.75)
    code, text = bisect()
    assert code == 4
    assert "is no ancestor of BAD's" in text


def test_a_shallow_clone_says_how_to_deepen_it(project, bisect, tmp_path, monkeypatch):
    plant(project, [GOOD, GOOD, BAD])
    project.runs()
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{project.folder}", "clone")
    monkeypatch.chdir(tmp_path / "clone")
    code, text = bisect()
    assert code == 4
    assert f"the commit {project.commits[0][:12]} is not in this repository" in text
    assert "`git fetch --unshallow`" in text
    # Both ends there, and nothing that leads from one to the other.
    git(tmp_path / "clone", "fetch", "-q", "--depth", "1", "origin", project.commits[0])
    code, text = bisect()
    assert code == 4
    assert "this clone is too shallow to lead from" in text
    assert "`git fetch --unshallow`" in text


@pytest.mark.parametrize("option", ["--history=x", "--cache", "-k", "-kspeed", "--model=m"])
def test_what_a_step_says_itself_is_not_said_again(project, bisect, option):
    plant(project, [GOOD, BAD])
    project.runs()
    code, text = bisect("--", option, "x")
    assert code == 4
    assert f"{option} after `--`, which each step says itself" in text


def test_the_plug_ins_of_the_good_run_are_asked_for(project, bisect, tmp_path):
    plant(project, [GOOD, BAD])
    good, _ = project.runs()
    path = project.history.folder(good) / "records.jsonl"
    told = "pytest suites/ --model resnet18 --technique t --seed 7 --plugin=~/mine.py"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**one, "command": told}) + "\n" for one in lines))
    code, text = bisect()
    assert (code, project.asked) == (4, [])
    assert "was measured with a --plugin of its own" in text
    assert "add `-- --plugin=FILE`" in text
    assert bisect("--", "--plugin=mine.py")[0] == 0
    asked = words_asked(tmp_path)
    assert asked[asked.index("--seed") + 1] == "7"
    assert "--plugin=~/mine.py" not in asked


def test_outside_the_project_it_says_where_to_go(project, bisect, tmp_path, monkeypatch):
    plant(project, [GOOD, BAD])
    project.runs()
    monkeypatch.chdir(tmp_path)
    code, text = bisect()
    assert code == 4
    assert "git finds no repository here (fatal: not a git repository" in text
    (project.folder / "docs").mkdir()
    monkeypatch.chdir(project.folder / "docs")
    code, text = bisect()
    assert code == 4
    assert "there is no suites/ here" in text


def test_a_project_in_a_folder_of_a_larger_repository(tmp_path, monkeypatch, capsys):
    project = StandIn(tmp_path)
    inner = project.folder
    (inner / ".git").rename(tmp_path / ".git")
    (tmp_path / ".gitignore").write_text("history/\nasked.txt\nout/\n")
    monkeypatch.setenv("ASKED", str(project.asked_file))
    monkeypatch.chdir(inner)
    plant(project, [GOOD, BAD])
    project.runs()
    words = ["--history", str(project.history.path), "--out", str(tmp_path / "out")]
    assert main(["bisect", *words]) == 0, capsys.readouterr()
    assert f"first bad commit: {project.commits[1]}" in capsys.readouterr().out


# Being stopped


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_nothing_and_goes_on_later(project, bisect, tmp_path, sent):
    slow = {**GOOD, "sleep": 60}
    plant(project, [GOOD, GOOD, slow, slow, GOOD, BAD])
    project.runs()
    words = ["--history", str(project.history.path), "--out", str(tmp_path / "out")]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with signals.heard():
        process = subprocess.Popen(
            [sys.executable, "-m", "reports", "bisect", *words],
            cwd=project.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            text=True,
        )
    until = time.monotonic() + 60
    while len(project.asked) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(sent)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 2, text
    assert "interrupted; answers so far are in" in text
    assert project.untouched
    assert list(temporary.iterdir()) == []
    before = project.asked
    assert before[:2] == [5, 0]
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path / "out") not in running
    # The commit that was being asked is asked again, and no other.
    for number in (2, 3):
        kept = json.loads((tmp_path / "out" / "steps.json").read_text())
        (one,) = kept["bisects"].values()
        one["steps"][project.commits[number]] = {"commit": "", "word": "skip", "status": "planted"}
        (tmp_path / "out" / "steps.json").write_text(json.dumps(kept))
    code, text = bisect()
    assert code == 0, text
    assert not {5, 0} & set(project.asked[len(before) :])


def test_a_list_whose_reader_has_seen_enough_ends_quietly(project):
    """`python -m reports list | head -1`."""
    for number in range(3):
        project.run(number + 1, None)
    for command in ("list", "trend resnet18 t"):
        words = f"{sys.executable} -m reports {command} --history {project.history.path}"
        done = subprocess.run(
            ["sh", "-c", f"({words}; echo $? > code) | true; cat code"],
            cwd=project.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert (done.stdout.strip(), done.stderr) == ("141", "")
