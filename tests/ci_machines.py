"""Runs CI workflow files on this machine as GitHub or GitLab would: fresh clones, artifacts, needs.

Commands run as the files have them, in the shells that those services use. What other people's
actions do is done here for the few that the files use; any other one is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

INSTALL = 'python3 -m venv .venv && .venv/bin/pip install -e ".[all]"'
SECONDS = 600


@dataclass
class Step:
    """A step that ran: its job, its words, exit code and output."""

    job: str
    command: str
    code: int
    output: str


@dataclass
class Machines:
    """Every job gets a fresh clone and a home of its own. origin: a bare repository.

    environment: variables that go before the files' own. steps: what ran.
    """

    origin: Path
    folder: Path
    environment: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    summary: str = ""
    count: int = 0

    def machine(self, depth: int) -> tuple[Path, dict[str, str]]:
        """A fresh clone, and the environment of a machine that has nothing else."""
        self.count += 1
        root = self.folder / f"machine{self.count}"
        work = root / "work"
        git("clone", "-q", "--depth", str(depth), f"file://{self.origin}", str(work))
        kept = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
        kept |= {"PATH": os.environ["PATH"], "HOME": str(root), "LANG": "C.UTF-8"}
        # torch takes 5 GB: instead of installing it again, the step's words are checked.
        (work / ".venv").symlink_to(sys.prefix)
        with (work / ".git" / "info" / "exclude").open("a") as excluded:
            excluded.write(".venv\n")  # git ignores the folder that it stands for, not a link
        return work, kept

    def shell(self, job: str, script: str, work: Path, environment: dict[str, str]) -> int:
        """Run a script as both services do: bash, ending at the first command that fails."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=work,
            env={**environment, **self.environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.steps.append(Step(job, script, done.returncode, done.stdout + done.stderr))
        return done.returncode

    def ran(self, words: str) -> list[Step]:
        """The steps with these words in their command."""
        return [step for step in self.steps if words in step.command]


def git(*words: str, at: Path | None = None) -> str:
    names = ["-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always"]
    place = ["-C", str(at)] if at else []
    done = subprocess.run(
        ["git", *names, *place, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def read(path: Path) -> dict[str, Any]:
    """A workflow file; YAML takes the key `on` for a truth value."""
    found = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in found.items()}


def in_order(jobs: dict[str, Any]) -> list[str]:
    """The names of jobs, those that others need first."""
    done: list[str] = []
    while len(done) < len(jobs):
        for name, job in jobs.items():
            needs = job.get("needs") or []
            needs = [needs] if isinstance(needs, str) else needs
            if name not in done and all(one in done for one in needs):
                done.append(name)
                break
        else:
            raise AssertionError(f"jobs that need each other: {set(jobs) - set(done)}")
    return done


# GitHub


def github(path: Path, machines: Machines) -> dict[str, bool]:
    """Run a GitHub workflow; whether each job succeeded."""
    workflow = read(path)
    store = machines.folder / "artifacts"
    results: dict[str, bool] = {}
    for name in in_order(workflow["jobs"]):
        job = workflow["jobs"][name]
        needs = job.get("needs") or []
        needs = [needs] if isinstance(needs, str) else needs
        always = "!cancelled()" in str(job.get("if", ""))
        if not always and not all(results[one] for one in needs):
            results[name] = False
            continue
        matrix = job.get("strategy", {}).get("matrix", {"": [""]})
        ((key, values),) = matrix.items()
        outcomes = [
            _github_job(
                workflow,
                name,
                {f"matrix.{key}": value, "strategy.job-index": index},
                machines,
                store,
            )
            for index, value in enumerate(values)
        ]
        results[name] = all(outcomes)
    return results


def _github_job(
    workflow: dict[str, Any],
    name: str,
    context: dict[str, Any],
    machines: Machines,
    store: Path,
) -> bool:
    job = workflow["jobs"][name]
    context |= {"github.run_id": 1, "github.ref": "refs/heads/main"}
    first, *steps = job["steps"]
    assert first["uses"].startswith("actions/checkout@"), "a job begins with its clone"
    work, environment = machines.machine(first.get("with", {}).get("fetch-depth", 1))
    summary, path_file = work.parent / "summary", work.parent / "path"
    summary.touch()
    path_file.touch()
    environment |= {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_PATH": str(path_file)}
    environment |= {**workflow.get("env", {}), **job.get("env", {})}
    good = True
    for step in steps:
        if not good and "!cancelled()" not in str(step.get("if", "")):
            continue
        if "uses" in step:
            given = {k: _filled(v, context) for k, v in step.get("with", {}).items()}
            good &= _action(step["uses"].partition("@")[0], given, work, store)
        elif INSTALL not in step["run"]:
            added = path_file.read_text().split()
            path = ":".join([*reversed(added), environment["PATH"]])
            own = {k: _filled(v, context) for k, v in step.get("env", {}).items()}
            words = {**environment, "PATH": path, **own}
            assert "${{" not in step["run"], "an expression in a command can be anybody's text"
            good &= machines.shell(name, step["run"], work, words) == 0
    machines.summary += summary.read_text()
    return good


def _filled(text: Any, context: dict[str, Any]) -> str:
    return re.sub(r"\$\{\{ *([^}]*?) *\}\}", lambda match: str(context[match[1]]), str(text))


def _action(action: str, given: dict[str, str], work: Path, store: Path) -> bool:
    if action == "actions/cache":
        return True  # a fresh machine finds none
    if action == "actions/upload-artifact":
        return _upload(given, work, store)
    if action == "actions/download-artifact":
        target = work / given["path"]
        if "name" in given:
            shutil.copytree(store / given["name"], target, dirs_exist_ok=True)
            return True
        found = sorted(store.glob(given["pattern"]))
        for one in found:  # each in a folder of its name
            shutil.copytree(one, target / one.name)
        return True
    raise AssertionError(f"an action that is not known here: {action}")


def _upload(given: dict[str, str], work: Path, store: Path) -> bool:
    target = store / given["name"]
    assert not target.exists(), "two uploads of one name"
    places = [work / line.strip() for line in given["path"].splitlines() if line.strip()]
    files = [
        file
        for place in places
        for file in ([place] if place.is_file() else place.rglob("*"))
        if file.is_file()
    ]
    if not files:
        return given.get("if-no-files-found") == "ignore" or not given.get("if-no-files-found")
    # What lies above all of them is cut off.
    top = Path(os.path.commonpath([place if place.is_dir() else place.parent for place in places]))
    for file in files:
        (target / file.relative_to(top)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / file.relative_to(top))
    return True


# GitLab

NO_JOBS = ("stages", "variables", "default", "include", "workflow")


def gitlab_jobs(path: Path) -> dict[str, Any]:
    return {name: job for name, job in read(path).items() if name not in NO_JOBS}


def gitlab(path: Path, machines: Machines) -> dict[str, bool]:
    """Run a GitLab pipeline; whether each job succeeded or may fail."""
    content, jobs = read(path), gitlab_jobs(path)
    store = machines.folder / "artifacts"
    results: dict[str, bool] = {}
    for name in in_order(jobs):
        needs = jobs[name].get("needs", [])
        if not all(results[one] for one in needs):
            results[name] = False
            continue
        count = jobs[name].get("parallel", 1)
        outcomes = [
            _gitlab_job(content, name, jobs[name], (number, count), machines, store)
            for number in range(1, count + 1)
        ]
        results[name] = all(outcomes)
    return results


def _gitlab_job(
    content: dict[str, Any],
    name: str,
    job: dict[str, Any],
    part: tuple[int, int],
    machines: Machines,
    store: Path,
) -> bool:
    variables = {**content.get("variables", {}), **job.get("variables", {})}
    work, environment = machines.machine(int(variables.get("GIT_DEPTH", 20)))
    environment |= {"CI_PROJECT_DIR": str(work), "OPTGAUGE_PUSH_URL": f"file://{machines.origin}"}
    environment |= {"CI_NODE_INDEX": str(part[0]), "CI_NODE_TOTAL": str(part[1])}
    base = git("rev-list", "--max-parents=0", "HEAD", at=machines.origin)
    environment["CI_MERGE_REQUEST_DIFF_BASE_SHA"] = base
    environment |= {k: str(v).replace("$CI_PROJECT_DIR", str(work)) for k, v in variables.items()}
    for one in job.get("needs", []):
        for folder in sorted(store.glob(f"{one}-*")):
            shutil.copytree(folder, work, dirs_exist_ok=True)
    lines = [*job.get("before_script", []), *job["script"]]
    script = "\n".join(line for line in lines if INSTALL not in line)
    code = machines.shell(name, script, work, environment)
    allowed = job.get("allow_failure", False)
    good = code == 0 or allowed is True
    if isinstance(allowed, dict):
        good |= code == allowed["exit_codes"]
    artifacts = job.get("artifacts", {})
    if code == 0 or artifacts.get("when") == "always":
        for place in artifacts.get("paths", []):
            target = store / f"{name}-{part[0]}" / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if (work / place).is_dir():
                shutil.copytree(work / place, target)
            elif (work / place).is_file():
                shutil.copyfile(work / place, target)
    return good
