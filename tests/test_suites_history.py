"""--history: what is compared, what is confirmed, what fails; by real runs of a tiny model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from running import PLUGINS, SLOWDOWNS, Ran, suites

from reports.__main__ import main
from reports.history.store import History

SLOWED = "digits_mlp-slowed-cpu"
NONE = "digits_mlp-none-cpu"
SECRET = "planted-secret-token-value"


class Place:
    """A cache, a history and a knob that the runs of this file share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = folder / "history"
        (folder / "policy.toml").write_text(SLOWDOWNS)

    def run(
        self,
        name: str,
        more: int,
        *words: str,
        history: Path | None = None,
        calls: int = 0,
        made_as: str | None = None,
    ) -> Ran:
        """calls: how much slower the code is that calls the artifact, whose file tells `more`.

        made_as: the run whose artifact it is, byte for byte.
        """
        knob = self.folder / "knob.json"
        knob.write_text(json.dumps({"more": more, "name": made_as or name}))
        code = (PLUGINS / "slowed.py").read_text()
        slower = code.replace('self.told["more"]):', f'self.told["more"] + {calls}):')
        assert slower != code
        plugin = self.folder / "slowed.py"
        plugin.write_text(slower)
        return suites(
            self.folder / name,
            self.folder / "cache",
            f"--plugin={plugin}",
            *("--model=digits_mlp", "--technique=none", "--technique=slowed", "--batch=1"),
            *("--policy", str(self.folder / "policy.toml")),
            *("--history", str(history or self.history), *words),
            environment={
                "SLOWED": str(knob),
                "MY_TOKEN": SECRET,
                "HOME": str(self.folder / "home-of-somebody"),
            },
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def first(place: Place) -> Ran:
    """The first run of a history: nothing to compare with yet. Made the baseline."""
    ran = place.run("first", 0, "--effort=quick", "-k", "speed or accuracy or size or regression")
    assert ran.code == 0, ran.output
    assert main(["accept", "last", "--yes", "--history", str(place.history)]) == 0
    return ran


def test_a_first_run_has_no_baseline_and_is_kept_with_its_artifacts(place, first):
    verdict = first.verdicts(SLOWED)["regression"]
    assert verdict["status"] == "NO_BASELINE"
    assert "the history holds no run yet" in verdict["reason"]
    assert first.run["history"]["accepted"] is None
    assert "history: the history holds no run yet; `python -m reports accept" in first.output
    history = History.open(place.history)
    (name,) = history.names
    assert name == first.run["run"]
    assert len(first.run["artifacts"][SLOWED]["sha256"]) == 64
    assert (history.folder(name) / "samples.npz").exists()


def test_nothing_private_is_in_a_history(place, first):
    main(["list", "--history", str(place.history)])  # makes the index
    hidden = (SECRET, "home-of-somebody", str(place.folder), os.uname().nodename)
    for path in place.history.rglob("*"):
        if path.is_file():
            contents = [path.read_bytes()]
            if path.suffix == ".npz":
                with np.load(path) as stored:
                    contents += [stored[name].tobytes().replace(b"\0", b"") for name in stored]
            for private in hidden:
                assert not any(private.encode() in content for content in contents), path


@pytest.fixture(scope="module")
def slower(place: Place, first: Ran) -> Ran:
    return place.run("slower", 5, "-k", "slowed and (speed or regression)")


def test_a_planted_slowdown_fails_once_both_artifacts_in_turns_confirm_it(slower):
    verdict = slower.verdicts(SLOWED)["regression"]
    assert (slower.code, verdict["status"]) == (1, "FAIL"), slower.output
    assert "both artifacts timed in turns here" in verdict["reason"]
    assert "confirmed by a fresh run" in verdict["reason"]
    (pair,) = verdict["evidence"]["speed"]
    assert len(pair["confirmation"]["first"]) >= 2
    assert len(pair["confirmation"]["confirming"]) >= 2
    assert verdict["limit"]["source"] == "policy.toml:2"
    assert slower.verdicts(SLOWED)["speed-b1"]["status"] == "PASS"


def test_an_artifact_that_its_own_code_calls_slower_is_not_passed_over(place, slower):
    """Timing the same artifact in turns would find nothing."""
    words = ("--effort=quick", "-k", "slowed and (speed or regression)")
    ran = place.run("called_slower", 0, *words, calls=30, made_as="first")
    verdict = ran.verdicts(SLOWED)["regression"]
    assert verdict["status"] == "INCONCLUSIVE", ran.output
    assert "the artifact is the same, byte for byte, so what runs it is slower" in verdict["reason"]
    assert "(the code of its model, technique or target)" in verdict["reason"]


def test_without_the_earlier_artifact_nothing_is_confirmed_and_a_gain_is_told(place, slower):
    """The slow run becomes the baseline, and its artifact is lost; the next one is fast."""
    assert main(["accept", "last", "--yes", "--history", str(place.history)]) == 0
    key = slower.run["artifacts"][SLOWED]["key"]
    shutil.rmtree(place.folder / "cache" / "artifacts" / key[:32])
    words = ("--effort=quick", "-k", "slowed and (speed or regression)")
    faster = place.run("faster", 0, *words)
    assert faster.verdicts(SLOWED)["regression"]["status"] == "PASS", faster.output
    assert faster.run["history"]["gains"][0].startswith(f"{SLOWED}, batch 1: ")
    assert "faster: " in faster.output
    # The same the other way round, against an artifact that is gone.
    assert main(["accept", "last", "--yes", "--history", str(place.history)]) == 0
    key = faster.run["artifacts"][SLOWED]["key"]
    shutil.rmtree(place.folder / "cache" / "artifacts" / key[:32])
    again = place.run("again", 6, *words)
    verdict = again.verdicts(SLOWED)["regression"]
    assert verdict["status"] == "INCONCLUSIVE"
    assert "is neither in this cache nor the history" in verdict["reason"]


def test_workers_compare_and_confirm_and_the_run_is_kept_once(place, first, tmp_path):
    """pytest-xdist: a worker compares what it measured, the controller keeps the run."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    history = tmp_path / "history"
    shutil.copytree(place.history, history)
    accept = ["accept", first.run["run"], "--yes", "--history", str(history)]
    assert main([*accept, "--artifacts", str(place.folder / "cache")]) == 0
    before = set(History.open(history).names)
    words = ("-n", "2", "-k", "speed or accuracy or size or regression")
    ran = place.run("workers", 11, *words, history=history)
    assert ran.code == 1, ran.output
    slowed = ran.verdicts(SLOWED)["regression"]
    assert slowed["status"] == "FAIL", ran.output
    assert "both artifacts timed in turns here" in slowed["reason"]
    none = ran.verdicts(NONE)["regression"]
    assert none["status"] == "PASS", none["reason"]
    assert len(none["evidence"]["speed"]) == 1
    told = ran.run["history"]
    assert (told["accepted"], told["compared"], told["missing"]) == (first.run["run"], 2, [])
    assert set(ran.run["artifacts"]) == {SLOWED, NONE}
    added = set(History.open(history).names) - before
    assert added == {ran.run["run"]}
    kept = History.open(history).folder(ran.run["run"])
    assert set(json.loads((kept / "artifacts.json").read_text())) == {SLOWED, NONE}
    with np.load(kept / "samples.npz") as stored:
        assert sorted(stored["cells"]) == [NONE, SLOWED]


def test_an_artifact_kept_in_the_history_confirms_on_a_machine_without_it(place, first):
    cache = place.folder / "cache"
    accept = ["accept", first.run["run"], "--yes", "--history", str(place.history)]
    assert main([*accept, "--artifacts", str(cache)]) == 0
    key = first.run["artifacts"][SLOWED]["key"]
    shutil.rmtree(cache / "artifacts" / key[:32])
    words = ("--effort=quick", "-k", "slowed and (speed or regression)")
    ran = place.run("far", 7, *words)
    verdict = ran.verdicts(SLOWED)["regression"]
    assert "both artifacts timed in turns here" in verdict["reason"], ran.output
    # A changed byte in it, and it is not what was measured.
    (weights,) = (place.history / "artifacts").glob(
        f"{first.run['artifacts'][SLOWED]['sha256']}/artifact/*.safetensors"
    )
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    ran = place.run("changed", 8, *words)
    verdict = ran.verdicts(SLOWED)["regression"]
    assert verdict["status"] == "INCONCLUSIVE"
    assert "differs from its SHA-256" in verdict["reason"]


def test_a_release_fails_when_a_cell_of_the_accepted_run_is_not_asked(place, first):
    name = first.run["run"]
    assert main(["accept", name, "--yes", "--history", str(place.history)]) == 0
    words = ("--gate=release", "-k", "slowed and (accuracy or regression)")
    ran = place.run("narrow", 0, *words)
    assert ran.verdicts(SLOWED)["regression"]["status"] == "PASS", ran.output
    assert ran.code == 1
    assert ran.run["history"]["missing"] == [NONE]
    assert f"missing: {NONE}" in ran.output
    assert "1 cell of the accepted run not measured" in ran.output


def test_a_run_that_compares_nothing_is_no_release(place, first):
    words = ("--gate=release", "-k", "accuracy")
    ran = place.run("blind", 0, *words)
    assert ran.run["history"]["missing"] == []
    assert ran.run["history"]["compared"] == 0
    assert ran.code == 1


def test_another_machine_is_no_baseline_and_lists_what_differs(place, first, tmp_path):
    shutil.copytree(place.history, tmp_path / "history")
    (path,) = (tmp_path / "history" / "runs").glob(f"{first.run['run']}/records.jsonl")
    text = path.read_text()
    cpu = first.run["machine"]["cpu"]
    path.write_text(text.replace(json.dumps(cpu), '"Another CPU"', 1))
    for one in (tmp_path / "history" / "accepted").iterdir():
        one.unlink()
    accept = ["accept", first.run["run"], "--yes", "--history", str(tmp_path / "history")]
    assert main(accept) == 0
    words = ("-k", "slowed and (accuracy or regression)")
    ran = place.run("elsewhere", 0, *words, history=tmp_path / "history")
    verdict = ran.verdicts(SLOWED)["regression"]
    assert (ran.code, verdict["status"]) == (0, "NO_BASELINE")
    assert f"cpu: Another CPU, then {cpu}" in verdict["reason"]


def test_a_damaged_baseline_is_an_error_that_names_the_file(place, first, tmp_path):
    """OPT-30: cut off after 300 bytes."""
    shutil.copytree(place.history, tmp_path / "history")
    for path in (tmp_path / "history" / "runs").glob("*/records.jsonl"):
        path.write_bytes(path.read_bytes()[:300])
    words = ("-k", "slowed and (accuracy or regression)")
    ran = place.run("damaged", 0, *words, history=tmp_path / "history")
    verdict = ran.verdicts(SLOWED)["regression"]
    assert (ran.code, verdict["status"]) == (1, "ERROR")
    assert "records.jsonl:1: a line that is cut off" in verdict["reason"]
    assert ran.verdicts(SLOWED)["accuracy"]["status"] == "PASS"


def test_a_history_that_cannot_be_used_is_said_before_anything_is_measured(place, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    ran = place.run("unusable", 0, history=tmp_path)
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "--history: " in ran.output
    assert "this folder is no history" in ran.output


def test_a_run_that_could_not_be_kept_says_so_and_is_whole_in_its_report(place, tmp_path):
    (tmp_path / "history.json").write_text('{"kind": "history", "schema": 1}')
    (tmp_path / "runs").write_text("in the way")
    ran = place.run("unkept", 0, "-k", "slowed and accuracy", history=tmp_path)
    assert ran.code == pytest.ExitCode.INTERNAL_ERROR, ran.output
    assert "history: NOT KEPT: " in ran.output
    assert "python -m reports merge" in ran.output
    assert ran.run["complete"]


def test_without_history_there_is_no_such_gate(place):
    from running import ROOT

    assert "test_regression" in (ROOT / "suites" / "test_gates.py").read_text()
    ran = suites(place.folder / "plain", place.folder / "cache", "--co", "-q", "--model=digits_mlp")
    assert "test_accuracy[digits_mlp-none-cpu]" in ran.output
    assert "regression" not in ran.output
