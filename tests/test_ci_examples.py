"""The workflows of examples/ci/: their commands run as they are written, on a small matrix."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ci_machines import INSTALL, Machines, git, github, gitlab, gitlab_jobs, read
from running import ROOT

from reports import records

FOLDER = ROOT / "examples" / "ci"
GITHUB = sorted((FOLDER / "github").glob("*.yml"))
GITLAB = sorted((FOLDER / "gitlab").glob("*.yml"))
HOSTED = ("ubuntu-latest",)

SMALL = {
    "PYTEST_ADDOPTS": "-p no:cacheprovider --model=digits_mlp --technique=none "
    "--technique=dynamic_int8 --effort=quick --batch=1",
    "TREND_MODEL": "digits_mlp",
    "TREND_TECHNIQUE": "dynamic_int8",
}
CELLS = ["digits_mlp-dynamic_int8-cpu", "digits_mlp-none-cpu"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository of these files, with a second commit that changes one technique."""
    folder = tmp_path_factory.mktemp("origin")
    made, bare = folder / "made", folder / "bare.git"
    listed = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, made / name)
    git("init", "-q", "-b", "main", str(made))
    git("add", "-A", at=made)
    git("commit", "-qm", "first", at=made)
    technique = made / "optimizers" / "dynamic_int8.py"
    technique.write_text(technique.read_text() + "\n# edited\n")
    git("commit", "-qam", "second", at=made)
    git("clone", "-q", "--bare", f"file://{made}", str(bare))
    return bare


@pytest.fixture
def machines(origin: Path, tmp_path: Path) -> Machines:
    copy = tmp_path / "bare.git"
    shutil.copytree(origin, copy)
    return Machines(copy, tmp_path, SMALL)


def told(machines: Machines) -> str:
    return "\n".join(f"$ {one.command}\n{one.code}: {one.output[-3000:]}" for one in machines.steps)


def run(path: Path, machines: Machines) -> dict[str, bool]:
    return (github if path.parent.name == "github" else gitlab)(path, machines)


def report_of(machines: Machines) -> Path:
    """Where the last job that uploads a report left it."""
    found = [path.parent for path in machines.folder.glob("artifacts/**/index.html")]
    return next(one for one in found if "shard" not in str(one))


# What they may do


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_no_pull_request_runs_on_a_machine_of_one_s_own_at_github(path):
    workflow = read(path)
    on = workflow["on"]
    events = {on} if isinstance(on, str) else set(on)
    assert not events & {"pull_request_target", "workflow_run", "issue_comment"}
    machines = [job["runs-on"] for job in workflow["jobs"].values()]
    if "pull_request" in events:
        assert events == {"pull_request"}
        assert all(one in HOSTED for one in machines)
        assert "secrets" not in path.read_text()
        assert all("permissions" not in job for job in workflow["jobs"].values())
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", GITLAB, ids=lambda path: path.name)
def test_no_merge_request_runs_on_a_machine_of_one_s_own_at_gitlab(path):
    for job in gitlab_jobs(path).values():
        conditions = [rule["if"] for rule in job["rules"]]
        own = not all(tag.startswith("saas-linux-") for tag in job["tags"])
        for condition in conditions:
            if "merge_request" in condition:
                assert not own
                assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in condition
            else:
                assert condition in (
                    '$CI_PIPELINE_SOURCE == "schedule"',
                    '$CI_COMMIT_TAG && $CI_COMMIT_REF_PROTECTED == "true"',
                )


def commands(value: Any) -> list[str]:
    """Every shell line of a workflow."""
    if isinstance(value, dict):
        keys = ("run", "script", "before_script")
        own = [value[key] for key in keys if key in value]
        lines = [line for one in own for line in ([one] if isinstance(one, str) else one)]
        return lines + [line for one in value.values() for line in commands(one)]
    if isinstance(value, list):
        return [line for one in value for line in commands(one)]
    return []


@pytest.mark.parametrize(
    "path", GITHUB + GITLAB, ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_they_install_as_the_readme_does(path):
    lines = [line for line in commands(read(path)) if "pip install" in line]
    assert lines
    assert INSTALL in (ROOT / "README.md").read_text()
    for line in lines:
        assert line in (INSTALL, f"{INSTALL} -c build/constraints.txt")


def test_both_services_have_the_same_three():
    names = {path.stem.replace("merge_request", "pull_request") for path in GITLAB}
    assert names == {path.stem for path in GITHUB} == {"pull_request", "nightly", "release"}


def test_their_commands_are_those_of_the_documentation():
    text = (ROOT / "docs" / "ci.md").read_text()
    for path in GITHUB + GITLAB:
        assert f"examples/ci/{path.parent.name}/{path.name}" in text
        for option in re.findall(r"(?<= )--[a-z][a-z-]+", "\n".join(commands(read(path)))):
            if option in ("--changed-since", "--shard", "--stage", "--max-minutes", "--compiled"):
                assert option in text


# Running them

NIGHTLY = [FOLDER / service / "nightly.yml" for service in ("github", "gitlab")]


@pytest.mark.parametrize("path", NIGHTLY, ids=lambda path: path.parent.name)
def test_a_night_builds_once_measures_in_two_shards_and_reports(path, machines):
    run(path, machines)
    text = told(machines)
    (build,) = machines.ran("--stage build")
    assert "digits_mlp: train" in build.output, text
    measured = machines.ran("--stage measure")
    assert len(measured) == 2
    for step in measured:
        assert step.code in (0, 1), text
        assert ": train" not in step.output
        assert ": apply" not in step.output
    every = [records.read(path).run for path in machines.folder.glob("artifacts/**/records.jsonl")]
    parts = {run["shard"]["number"]: run for run in every if run["shard"]}
    assert sorted(parts) == [1, 2]
    assert all(run["aa"] and run["selected_cells"] == 1 for run in parts.values()), text
    found = records.read(report_of(machines))
    assert found.run["complete"] is True
    assert sorted({one["id"] for one in found.verdicts}) == CELLS, text
    assert not [one for one in found.verdicts if one["status"] == "ERROR"], text
    assert found.run["aa"]
    assert found.run["dirty"] is False, "a file of the workflow's own lies in the clone"
    kept = git("ls-tree", "-r", "--name-only", "optgauge-history", at=machines.origin)
    assert found.run["run"] in kept
    assert kept.count("records.jsonl") == 1, kept
    for step in machines.steps:
        assert step.code in (0, 1), text
        assert step.code == 0 or "pytest" in step.command or "reports merge" in step.command, text
    trend = machines.ran("reports trend")[-1]
    assert found.run["run"][:8] in trend.output or found.run["run"][:8] in machines.summary


QUICK = [FOLDER / "github" / "pull_request.yml", FOLDER / "gitlab" / "merge_request.yml"]


@pytest.mark.parametrize("path", QUICK, ids=lambda path: path.parent.name)
def test_a_pull_request_measures_what_it_changes(path, machines):
    run(path, machines)
    (step,) = machines.ran("--changed-since")
    assert step.code in (0, 1), told(machines)
    found = records.read(report_of(machines))
    assert {one["id"] for one in found.verdicts} == {"digits_mlp-dynamic_int8-cpu"}
    if path.parent.name == "github":
        assert machines.summary.startswith("# ")


@pytest.mark.parametrize("path", QUICK, ids=lambda path: path.parent.name)
def test_a_pull_request_that_changes_no_cell_is_green(path, machines):
    machines.environment = {"PYTEST_ADDOPTS": "--model=digits_mlp --technique=none"}
    assert all(run(path, machines).values()), told(machines)
    (step,) = machines.ran("--changed-since")
    assert "no code of 1 cells changed" in step.output


RELEASE = [FOLDER / service / "release.yml" for service in ("github", "gitlab")]


@pytest.mark.parametrize("path", RELEASE, ids=lambda path: path.parent.name)
def test_a_release_is_gated(path, machines):
    machines.environment = {**SMALL, "PYTEST_ADDOPTS": SMALL["PYTEST_ADDOPTS"] + " -k accuracy"}
    run(path, machines)
    (step,) = machines.ran("--gate release")
    assert step.code in (0, 1), told(machines)
    found = records.read(report_of(machines))
    assert found.run["gate"] == "release"
    assert {one["gate"] for one in found.verdicts} == {"accuracy"}
