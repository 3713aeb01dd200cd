"""A release is held to what the policy requires, and approves what it exports (OPT-32)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT, Ran, suites

CELLS = ("--model=digits_mlp", "--technique=none", "--technique=dynamic_int8", "--effort=quick")
STILL = ("-k", "not speed and not memory and not fidelity")
POLICY = """
[[limit]]
gate = "size"
max = 1.05
reason = "the default"
"""


def require(models: str, techniques: str, gates: str) -> str:
    return (
        f"[[require]]\nmodels = {models}\ntechniques = {techniques}\ntargets = ['cpu']\n"
        f"gates = {gates}\nreason = 'what we ship'\n"
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path: Path, cache: Path):
    def start(policy: str, *words: str) -> Ran:
        file = tmp_path / "policy.toml"
        file.write_text(POLICY + policy)
        export = ("--export", str(tmp_path / "export"))
        return suites(tmp_path / "out", cache, *CELLS, f"--policy={file}", *export, *words)

    return start


def verify(*words: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reports", "verify", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


MET = require("['digits_mlp']", "['none', 'dynamic_int8']", "['accuracy', 'size', 'evidence']")


def test_a_release_that_answers_all_passes_and_another_fails_with_the_line(run, tmp_path):
    released = run(MET, "--gate=release", *STILL)
    assert released.code == 0, released.output
    assert "fails the release" not in released.output
    # Not every gate was asked of its artifacts, so none of them is approved.
    assert "not in release.json: digits_mlp-none-cpu, not asked for fidelity" in released.output
    assert not (tmp_path / "export" / "release.json").exists()

    more = MET + require("['digits_mlp', 'lstm']", "['none']", "['size', 'fidelity']")
    told = (
        "policy.toml:12 requires digits_mlp-none-cpu (fidelity), lstm-none-cpu: not in this run "
        "(--model and --technique left it out)"
    )
    nightly = run(more, *STILL)
    assert nightly.code == 0
    assert "--gate release will fail for this:" in nightly.output
    held = run(more, "--gate=release", *STILL)
    assert held.code == 1, held.output
    assert "HOLD: Nothing fails in 8 gates of 2 cells, but 3 required gates" in held.output
    assert "no release.json: HOLD: Nothing fails" in held.output
    planned = run(more, "--gate=release", "--plan", *STILL)
    assert all(told in one.output for one in (nightly, held, planned))
    assert "not in this run" in (held.report / "summary.md").read_text()


def test_refused_and_unknown_cells_fail_a_release(run):
    policy = require("['digits_mlp']", "['none', 'channels_last', 'none+none']", "['size']")
    words = ("--technique=channels_last", *STILL)
    held = run(policy, "--gate=release", *words)
    assert held.code == 1, held.output
    assert "policy.toml:6 requires digits_mlp-channels_last-cpu: REFUSED: " in held.output
    absent = "policy.toml:6 requires digits_mlp × none+none × cpu: the standard matrix has no such"
    assert absent in held.output
    assert run(policy, *words).code == 0


def test_a_release_without_requirements_says_so(run):
    released = run("", "--gate=release", "-k", "size")
    assert released.code == 0
    assert "policy.toml has no [[require]]" in released.output
    assert "has no [[require]]" not in run("", "-k", "size").output


WAIVER = """
[[limit]]
gate = "size"
model = "digits_mlp"
technique = "dynamic_int8"
max = {limit}
reason = "as small as that"

[[waiver]]
gate = "size"
model = "digits_mlp"
technique = "{technique}"
target = "cpu"
reason = "known"
issue = 7
owner = "release"
expires = {expires}
floor = 1.05
"""


def waiver(limit=0.01, technique="dynamic_int8", expires="2999-01-31") -> str:
    return WAIVER.format(limit=limit, technique=technique, expires=expires)


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [
        (waiver(expires="2020-01-31"), "expired on 2020-01-31 (7, release): renew it", "WAIVED"),
        (waiver(limit=1.05), "is no longer needed (1 gate that it covers passes)", "PASS"),
        (waiver(limit=1.05, technique="none:2"), "covers no cell that there is", "PASS"),
    ],
)
def test_a_stale_waiver_warns_by_night_and_fails_a_release(run, text, said, status):
    line = f"policy.toml:14: the size waiver {said}"
    nightly = run(text, "-k", "size")
    assert nightly.code == 0, nightly.output
    assert line in nightly.output
    assert nightly.verdicts("digits_mlp-dynamic_int8-cpu")["size"]["status"] == status
    held = run(text, "--gate=release", "-k", "size")
    assert held.code == 1, held.output
    assert line in held.output
    assert line in (held.report / "index.html").read_text()


def test_a_waived_artifact_ships_with_its_waiver_and_verify_knows_every_file(run, tmp_path):
    """All seven gates, with limits that any machine keeps."""
    loose = waiver() + "".join(
        f"[[limit]]\ngate = '{gate}'\nmodel = 'digits_mlp'\n{way} = {bound}\nreason = 'r'\n"
        for gate, way, bound in (
            ("speed", "min", 0.01),
            ("memory", "max", 99),
            ("fidelity", "min", 0.5),
        )
    )
    folder = tmp_path / "export"
    released = run(loose, "--gate=release", "--batch=1")
    assert released.code == 0, released.output
    assert f"approved: 2 artifacts in {folder / 'release.json'}" in released.output
    content = json.loads((folder / "release.json").read_text())
    by_cell = {one["cell"]: one for one in content["artifacts"]}
    (waived,) = by_cell["digits_mlp-dynamic_int8-cpu"]["waived"]
    assert (waived["gate"], waived["issue"], waived["owner"]) == ("size", "7", "release")
    assert by_cell["digits_mlp-none-cpu"]["gates"]["speed-b1"] == "PASS"
    assert content["run"] == released.run["run"]
    assert verify(folder).returncode == 0

    # A nightly run into the same folder approves nothing, and takes the list away.
    assert run(loose, "--batch=1", "-k", "size").code == 0
    assert not (folder / "release.json").exists()
    assert verify(folder).returncode == 4
