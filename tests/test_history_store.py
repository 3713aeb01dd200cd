"""The history's folder: what is added is there whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import history_generated as generated
import numpy as np
import pytest
from running import ROOT, open_to_all

from reports import records
from reports.__main__ import main
from reports.history import samples
from reports.history.index import Index
from reports.history.store import History
from reports.records import RecordError


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History.open(tmp_path / "history", create=True)


def some(history: History, *numbers: int) -> list[str]:
    return [generated.add(history, number, ratios={"onnxruntime": 4.0}) for number in numbers]


def test_a_run_that_was_added_reads_back_and_renders(history, tmp_path):
    (name,) = some(history, 1)
    found = records.read(history.folder(name))
    assert found.run["run"] == name
    assert len(found.verdicts) == 9
    speed = next(one for one in found.verdicts if one["gate"] == "speed")
    assert len(speed["evidence"]["processes"]) == 4
    assert "samples" not in speed["baseline"]
    scores = samples.Samples(history.folder(name)).of("resnet18-onnxruntime-cpu")
    assert scores is not None
    assert (scores.baseline.mean(), scores.candidate.mean()) == (0.98, 0.975)
    assert main(["render", str(history.folder(name)), "--out", str(tmp_path / "page")]) == 0


def test_groups_and_cells_keep_apart_in_the_packed_samples(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    for number, cell in enumerate(("a-x-cpu", "b-y:0.5+z-cpu")):
        groups = {"groups": np.arange(3 + number)} if number else {}
        score = np.full(3 + number, number, "float32")
        np.savez(folder / f"{cell}.npz", baseline=score, candidate=score, **groups)
    samples.pack(folder, ["a-x-cpu", "none-at-all-cpu", "b-y:0.5+z-cpu"], tmp_path / samples.FILE)
    found = samples.Samples(tmp_path)
    first, second = found.of("a-x-cpu"), found.of("b-y:0.5+z-cpu")
    assert first is not None
    assert second is not None
    assert (list(first.candidate), first.groups) == ([0, 0, 0], None)
    assert (list(second.candidate), list(second.groups)) == ([1, 1, 1, 1], [0, 1, 2, 3])
    assert found.of("none-at-all-cpu") is None


def test_the_same_run_is_not_added_twice(history):
    some(history, 1)
    with pytest.raises(RecordError, match="holds this run already"):
        some(history, 1)


def test_the_index_is_derived_and_made_again(history):
    names = some(history, 1, 2)
    before = Index(history).run_rows(names[0])
    (path,) = (history.path / "index").glob(f"{names[0]}*")
    path.unlink()
    assert Index(history).run_rows(names[0]) == before
    assert path.exists()
    assert (history.path / ".gitignore").read_text().startswith("index/")


def test_the_latest_acceptance_of_a_class_counts_and_names_resolve(history):
    first, second = some(history, 1, 2)
    history.accept(first)
    history.accept(second)
    history.accept(first, "slower is meant")
    (found,) = history.accepted.values()
    assert (found.run, found.new_level) == (first, "slower is meant")
    assert [history.resolve(one) for one in ("accepted", "last", "000001")] == [
        first,
        second,
        first,
    ]
    with pytest.raises(RecordError, match="2 runs match '2026'"):
        history.resolve("2026")


# Folders that are none, and those of others


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "this folder is no history"),
        ("{}", "not the mark of a history"),
        ("[1", "not strict JSON"),
        ('{"kind": "history", "schema": 2}', "schema 2, newer than the 1 known here"),
    ],
)
def test_what_is_no_history_is_named_and_left_alone(tmp_path, content, said):
    (tmp_path / "notes.txt").write_text("mine")
    if content is not None:
        (tmp_path / "history.json").write_text(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RecordError, match=said):
        History.open(tmp_path, create=True)
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_or_nothing_in_its_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        History.open(tmp_path / "file", create=True)
    with pytest.raises(RecordError, match="there is no such history"):
        History.open(tmp_path / "nowhere")


def test_a_new_git_repository_becomes_a_history(tmp_path):
    (tmp_path / ".git").mkdir()
    assert History.open(tmp_path, create=True).names == []


def aside(script: str, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """A piece of code in a process of its own, with the tests' modules at hand."""
    path = f"{ROOT}:{ROOT / 'tests'}"
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=60,
        **settings,  # type: ignore[call-overload]
    )


def test_an_unwritable_folder_is_said_so_also_to_a_user_who_is_not_root(history):
    some(history, 1)
    open_to_all(history.path)
    done = aside(
        """
        import os, sys
        import duckdb  # another user may not read where Python lies
        from reports.history.index import Index
        from reports.history.store import History
        from reports.records import RecordError
        if os.geteuid() == 0:
            os.setuid(65534)
        else:
            os.chmod(sys.argv[1], 0o555)
        history = History.open(sys.argv[1])
        (name,) = history.names
        print(len(Index(history).run_rows(name)), "verdicts readable")
        try:
            History.open(sys.argv[1], create=True)
        except RecordError as error:
            print(error)
        """,
        str(history.path),
    )
    assert "9 verdicts readable" in done.stdout, done.stderr
    assert "cannot be written (Permission denied)" in done.stdout


# Full disks, kills, two at once

ADD = """
    import resource, sys
    from pathlib import Path
    import history_generated as generated
    from reports.history.store import History
    from reports.records import RecordError
    history = History.open(Path(sys.argv[1]))
"""


def test_a_full_disk_loses_nothing_and_says_what_to_do(history):
    (first,) = some(history, 1)
    # No file may grow beyond this: what a write meets on a full disk, with another errno.
    done = aside(
        ADD
        + """
    real = history.add
    def limited(*words):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        return real(*words)
    history.add = limited
    try:
        generated.add(history, 2, ratios={f"t{n}": 4.0 for n in range(9)})
    except RecordError as error:
        print(error)
    """,
        str(history.path),
    )
    assert "could not be added (File too large); it is whole in the folder" in done.stdout, done
    assert history.names == [first]
    assert history.leftovers() == []
    assert len(Index(history).run_rows(first)) == 9


def test_a_disk_without_room(history, tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    script = f"""
        set -e
        mount -t tmpfs -o size=256k tmpfs {mount}
        cp -r {history.path} {mount}/history
        head -c 200000 /dev/zero > {mount}/filler
        exec "$@"
    """
    code = (
        ADD
        + """
    folder = Path(sys.argv[2])
    report = generated.header(2)
    generated.write_samples(folder / "samples", ["resnet18-t0-cpu"], 0)
    from reports.records import Records
    import reports_fixtures as fixtures
    lines = [one for n in range(40) for one in fixtures.cell("resnet18", f"t{n}", samples=4)]
    found = Records(report, [{**one, "run": report["run"]} for one in lines])
    try:
        history.add(found, folder / "samples")
    except RecordError as error:
        print(error)
    print(history.names, history.leftovers())
    """
    )
    command = [sys.executable, "-c", textwrap.dedent(code), f"{mount}/history", str(tmp_path / "r")]
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script, "bash", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this system lets nobody mount a small disk")
    assert "could not be added (No space left on device)" in done.stdout, done.stderr
    assert "[] []" in done.stdout


def test_a_killed_writer_leaves_no_run_and_prune_clears_what_it_left(history, capsys):
    (first,) = some(history, 1)
    done = aside(
        ADD
        + """
    import os, signal
    from reports.history import samples
    samples.pack = lambda *words: os.kill(os.getpid(), signal.SIGKILL)
    generated.add(history, 2, ratios={"onnxruntime": 4.0})
    """,
        str(history.path),
    )
    assert done.returncode == -9
    assert history.names == [first]
    (left,) = [path for path in history.leftovers() if path.parent.name == "runs"]
    assert (left / "records.jsonl").exists()
    assert main(["list", "--history", str(history.path)]) == 0
    assert first in capsys.readouterr().out
    assert main(["prune", "--keep", "9", "--yes", "--history", str(history.path)]) == 0
    assert history.leftovers() == []
    assert history.names == [first]


def test_two_runs_at_once_are_both_there(history):
    code = (
        ADD
        + """
    names = [generated.add(history, int(n), ratios={"onnxruntime": 4.0}) for n in sys.argv[2:]]
    history.accept(names[0])
    """
    )
    command = [sys.executable, "-c", textwrap.dedent(code), str(history.path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    jobs = [
        subprocess.Popen([*command, *map(str, range(start, 30, 2))], env=environment)
        for start in (0, 1)
    ]
    assert [job.wait(60) for job in jobs] == [0, 0]
    assert len(history.names) == 30
    assert len(history.acceptances) == 2
    assert {len(rows) for rows in map(Index(history).run_rows, history.names)} == {9}


def test_two_that_add_the_same_run_leave_one_whole(history):
    code = f'{ADD}    generated.add(history, 7, ratios={{f"t{{n}}": 4.0 for n in range(20)}})'
    command = [sys.executable, "-c", textwrap.dedent(code), str(history.path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    jobs = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [job.communicate(timeout=60)[1] for job in jobs]
    assert sorted(bool(job.returncode) for job in jobs) == [False, True], errors
    (name,) = history.names
    assert len(Index(history).run_rows(name)) == 180


# Damage


def spoil(history: History, name: str, how: str) -> Path:
    path = history.folder(name) / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    elif how == "cut between lines":
        path.write_text("".join(lines[:-1]))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "first line cut":
        path.write_text(lines[0][:300])
    elif how == "foreign":
        path.write_text(lines[0] + "".join('{"time": 3}\n' for _ in lines[1:]))
    elif how == "other run":
        path.write_text("".join(lines).replace(name, "20250101T000000Z-aaaaaa"))
    elif how == "newer":
        path.write_text("".join(lines).replace('"schema":1', '"schema":9'))
    elif how == "newer verdict":
        path.write_text(lines[0] + "".join(lines[1:]).replace('"schema":1', '"schema":9', 1))
    elif how == "bytes":
        path.write_bytes(path.read_bytes().replace(b"resnet18", b"resnet\xff8", 1))
    return path


DAMAGE = (
    "cut", "cut between lines", "empty", "first line cut", "foreign", "other run", "newer",
    "newer verdict", "bytes",
)  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_run_is_named_and_the_others_are_read(history, how, capsys):
    first, second, third = some(history, 1, 2, 3)
    path = spoil(history, second, how)
    folder = ["--history", str(history.path)]
    assert main(["list", *folder]) == 0
    told = capsys.readouterr()
    assert third in told.out
    assert "left out: " in told.err
    assert str(path.parent) in told.err
    assert main(["trend", "resnet18", "onnxruntime", *folder]) == 0
    told = capsys.readouterr()
    assert first in told.out
    assert third in told.out
    assert second not in told.out
    assert str(path.parent) in told.err
    assert main(["compare", first, second, *folder]) == 4
    assert str(path.parent) in capsys.readouterr().err
    assert main(["compare", first, third, *folder]) == 0


def test_damaged_samples_are_an_error_that_names_the_file(history, capsys):
    first, second = some(history, 1, 2)
    path = history.folder(first) / samples.FILE
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["compare", first, second, "--history", str(history.path)]) == 4
    assert f"{path}: no whole .npz file" in capsys.readouterr().err


def test_samples_that_would_run_code_are_not_loaded(history):
    (name,) = some(history, 1)
    np.savez(history.folder(name) / samples.FILE, cells=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RecordError, match="no whole"):
        samples.Samples(history.folder(name)).of("x")


def test_a_damaged_acceptance_is_named(history):
    (name,) = some(history, 1)
    history.accept(name)
    (path,) = (history.path / "accepted").iterdir()
    for content in ("", "[]", '{"kind": "accepted", "schema": 1}', '{"kind": "else"}'):
        path.write_text(content)
        with pytest.raises(RecordError, match=path.name):
            _ = history.accepted
    path.write_text(
        json.dumps({"kind": "accepted", "schema": 5, "run": "", "machine": "", "at": ""})
    )
    with pytest.raises(RecordError, match="newer than the 1 known here"):
        _ = history.accepted


def test_a_run_s_name_cannot_lead_out_of_the_folder(history, tmp_path):
    found = records.Records({**generated.header(1), "run": "../../outside"}, [])
    with pytest.raises(RecordError, match="a run called"):
        history.add(found, None)
