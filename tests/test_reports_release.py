"""release.json: what a run approves, and which files `verify` knows."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_fixtures import cell, run_record, verdict

from reports import __main__ as command
from reports import approval, records, release
from reports.records import Records

ONE, OTHER = "m-int8-cpu", "m-none-cpu"
FILES = {"artifact/model.onnx": b"weights", "artifact/artifact.json": b"{}", "load.py": b"code"}


def export(folder, name, own=None):
    """An exported cell; returns the SHA-256 of its manifest."""
    files = FILES | {"artifact/model.onnx": own or name.encode()}
    facts = {}
    for path, content in files.items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_bytes(content)
        inner = path.partition("/")[2]
        if inner:
            facts[inner] = {"sha256": hashlib.sha256(content).hexdigest()}
    manifest = folder / name / "artifact" / "manifest.json"
    manifest.write_text(json.dumps({"files": facts}))
    return release.digest(manifest)


@pytest.fixture
def exported(tmp_path):
    """A folder with two exported artifacts, and the records of the run that measured them."""
    folder = tmp_path / "export"
    shas = {name: {"sha256": export(folder, name), "key": "k"} for name in (ONE, OTHER)}
    run = run_record(gate="release", required=[], artifacts=shas, selected_cells=2)
    found = Records(run, [*cell("m", "int8"), *cell("m", "none")])
    records.write(tmp_path / "out" / "records.jsonl", run, found.verdicts)
    return folder, found


def run(capsys, *words):
    code = command.main(list(map(str, words)))
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.fixture
def approved(exported, tmp_path, capsys):
    folder, _ = exported
    assert run(capsys, "approve", tmp_path / "out", "--export", folder)[0] == 0
    return folder


def test_what_is_approved_verifies_as_a_whole_by_cell_and_by_file(approved, capsys):
    for path in (approved, approved / ONE, approved / ONE / "artifact" / "model.onnx"):
        code, said = run(capsys, "verify", path)
        assert code == 0, said
    content = json.loads((approved / "release.json").read_text())
    assert [one["cell"] for one in content["artifacts"]] == [ONE, OTHER]
    assert content["artifacts"][0]["gates"]["speed-b1"] == "PASS"


def test_an_artifact_is_known_wherever_it_was_copied(approved, tmp_path, capsys):
    place = tmp_path / "srv"
    shutil.copytree(approved / ONE / "artifact", place)
    listed = ("--release", approved / "release.json")
    assert run(capsys, "verify", place, *listed)[0] == 0
    shutil.copy(place / "model.onnx", tmp_path / "renamed.bin")
    assert run(capsys, "verify", tmp_path / "renamed.bin", *listed)[0] == 0
    code, said = run(capsys, "verify", place)
    assert (code, "no release.json lies in it" in said) == (4, True)


def change(path):
    path.write_bytes(path.read_bytes() + b" ")


FAULTS = {
    "changed": (lambda f: change(f / ONE / "artifact" / "model.onnx"), "changed: SHA-256"),
    "one more": (lambda f: (f / ONE / "artifact" / "more").write_text(""), "not listed"),
    "another cell": (lambda f: export(f, "new-none-cpu"), "not listed"),
    "one less": (
        lambda f: (f / ONE / "artifact" / "model.onnx").unlink(),
        f"of {ONE}, which lacks model.onnx",
    ),
    "swapped": (
        lambda f: (f / ONE / "artifact" / "model.onnx").rename(f / ONE / "artifact" / "other"),
        f"out of its place: it is {ONE}/artifact/model.onnx",
    ),
    "a link": (
        lambda f: (f / ONE / "artifact" / "link").symlink_to(f / OTHER / "load.py"),
        "no plain file",
    ),
    "a folder's link": (lambda f: (f / "more").symlink_to(f / ONE), "no plain file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_else_is_there_is_not_approved(approved, capsys, fault):
    plant, said = FAULTS[fault]
    plant(approved)
    code, output = run(capsys, "verify", approved)
    assert code == 1
    assert said in output
    # Only what was touched is told.
    wrong = [line for line in output.splitlines() if line.startswith("NOT APPROVED")]
    assert not any(f"/{OTHER}/" in line for line in wrong)


@given(content=st.binary(min_size=1, max_size=40), place=st.integers(0, 39))
def test_no_other_content_is_approved(tmp_path_factory, content, place):
    folder = tmp_path_factory.mktemp("any")
    export(folder, ONE, own=content)
    approval.write(folder, run_record(), [{"cell": ONE}])
    listed = release.read(folder / "release.json")
    path = folder / ONE / "artifact" / "model.onnx"
    assert [one.problem for one in release.check(listed, path)] == [None]
    other = bytearray(content)
    other[place % len(content)] ^= 1
    path.write_bytes(other)
    if bytes(other) not in FILES.values():
        assert [one.problem is None for one in release.check(listed, path)] == [False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not strict JSON"),
        ("[]", "it is no release.json"),
        ('{"kind": "run"}', "it is no release.json"),
        ('{"kind": "release", "schema": 2}', "schema 2 where this version knows 1"),
        ('{"kind": "release", "schema": 1}', "artifacts: no array of objects"),
        ('{"kind": "release", "schema": 1, "artifacts": [{"cell": 1}]}', "without cell or files"),
        (
            '{"kind": "release", "schema": 1, "artifacts": [{"cell": "c", "files": {"f": {}}}]}',
            "f: no SHA-256",
        ),
        ('{"kind": "release", "kind": "release"}', "a field is there twice"),
    ],
)
def test_a_damaged_list_is_wrong_use(approved, capsys, text, said):
    (approved / "release.json").write_text(text)
    code, output = run(capsys, "verify", approved)
    assert (code, said in output) == (4, True), output


def test_a_file_that_is_not_there_and_an_empty_folder_are_not_approved(approved, capsys):
    assert run(capsys, "verify", approved / "nowhere")[0] == 4
    (approved / "empty").mkdir()
    assert run(capsys, "verify", approved / "empty")[0] == 1


def test_only_a_run_that_may_be_released_approves(exported, tmp_path, capsys):
    folder, found = exported
    (folder / "release.json").write_text("an earlier one")
    asked = ("approve", tmp_path / "out", "--export", folder)
    for changes, said in (
        ({"gate": "nightly"}, "no release"),
        ({"shard": {"number": 1, "of": 2, "split": "ab"}}, "one part of a run"),
        ({"contaminated": True}, "INCONCLUSIVE"),
    ):
        records.write(tmp_path / "out" / "records.jsonl", found.run | changes, found.verdicts)
        code, output = run(capsys, *asked)
        assert (code, said in output) == (1, True), output
        assert not (folder / "release.json").exists()


def test_a_cell_that_was_not_asked_everything_is_left_out(exported, tmp_path, capsys):
    folder, found = exported
    verdicts = [one for one in found.verdicts if (one["id"], one["gate"]) != (ONE, "fidelity")]
    records.write(tmp_path / "out" / "records.jsonl", found.run, verdicts)
    code, output = run(capsys, "approve", tmp_path / "out", "--export", folder)
    assert code == 0
    assert f"not in release.json: {ONE}, not asked for fidelity" in output
    assert run(capsys, "verify", folder / OTHER)[0] == 0
    assert run(capsys, "verify", folder / ONE)[0] == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda f: export(f, ONE, b"another"), "not the artifact that the run measured"),
        (lambda f: change(f / ONE / "artifact" / "model.onnx"), "changed since it was measured"),
        (lambda f: (f / ONE / "artifact" / "more").write_text(""), "not of the artifact"),
        (lambda f: shutil.rmtree(f / ONE), "it is not there"),
    ],
)
def test_only_what_was_measured_is_approved(exported, tmp_path, capsys, fault, said):
    folder, _ = exported
    fault(folder)
    code, output = run(capsys, "approve", tmp_path / "out", "--export", folder)
    assert (code, said in output) == (4, True), output
    assert not (folder / "release.json").exists()


def test_an_expired_waiver_and_a_failure_approve_nothing():
    verdicts = cell("m", "int8")
    assert approval.passes(verdicts)
    verdicts[0]["status"] = "WAIVED"
    verdicts[0]["evidence"]["waiver"] = {"source": "policy.toml:3", "expires": "2027-01-31"}
    assert approval.passes(verdicts)
    assert approval.waived(verdicts)[0]["expires"] == "2027-01-31"
    verdicts[0]["evidence"]["waiver"]["expired"] = True
    assert not approval.passes(verdicts)
    for status in ("FAIL", "ERROR", "REFUSED", "INCONCLUSIVE", "NO_BASELINE"):
        verdicts[0]["status"] = status
        assert not approval.passes(verdicts)


def test_what_was_only_trained_or_put_under_load_is_no_artifact_to_approve():
    trained = {**verdict("vit", "amp_bf16", "size"), "gate": "training_steps"}
    found = [trained, {**verdict("vit", "x", "size"), "gate": "cloud_offline"}]
    assert approval.approvable(Records(run_record(), found)) == ([], [])
    judged = [*found, verdict("vit", "x", "size")]
    (told,) = approval.approvable(Records(run_record(), judged))[1]
    assert "vit-x-cpu, not asked for evidence" in told
