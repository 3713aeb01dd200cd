"""Record files are read whole or refused by name; nothing that is not strict JSON is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from reports_fixtures import RUN, cell, run_record, verdict

from reports import records, schema
from reports.records import RecordError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small complete record file: the run and the nine verdicts of one cell."""
    return records.write(
        tmp_path / records.FILE, run_record(), cell("resnet18", "onnxruntime", samples=2)
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _put(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_what_is_written_reads_back_with_unknown_fields(tmp_path: Path) -> None:
    run = run_record(later={"a": [1, None, "\u2028\U0001f600"]}, complete=False)
    verdicts = [verdict("größe\n|\x85", "t", "size", evidence={"new": {"deep": [True]}})]
    found = records.read(records.write(tmp_path / "r.jsonl", run, verdicts))
    assert found.run == run
    assert found.verdicts == verdicts


def test_a_lone_surrogate_from_a_file_name_survives(tmp_path: Path) -> None:
    odd = verdict("m", "t", "size", reason="cannot open caf\udce9.onnx")
    path = records.write(tmp_path / "r.jsonl", run_record(), [odd])
    path.read_bytes().decode("utf-8")
    assert records.read(path).verdicts == [odd]


def test_reading_a_directory_means_its_record_file(path: Path) -> None:
    assert records.read(path.parent) == records.read(path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"value": float("nan")}, "'value' is nan"),
        ({"evidence": {"a": [1.0, float("inf")]}}, r"'evidence.a\[1\]' is inf"),
        ({"high": np.float32(1.5)}, "'high' is a float32"),
        ({"evidence": {1: 2}}, "key 1"),
        ({"value": 10**400}, "'value' is a whole number"),
        ({"value": True}, "'value' is True"),
        ({"status": "PASSED"}, "'status' is 'PASSED', not one of PASS"),
        ({"gate": "latency"}, "'gate' is 'latency'"),
        ({"batch": 0}, "'batch' is 0"),
        ({"cell": {"model": "m", "technique": ""}}, "'cell.target' is missing"),
        ({"cell": {"model": "", "technique": "t", "target": "cpu"}}, "'cell.model' is empty"),
        ({"candidate": {"samples": [0.1, "fast"]}}, r"'candidate.samples\[1\]' is 'fast'"),
        ({"kind": "note"}, "kind 'note'"),
    ],
)
def test_a_record_that_is_not_strict_is_refused_and_the_old_file_kept(
    path: Path, fields: dict, named: str
) -> None:
    before = path.read_bytes()
    wrong = {**verdict("m", "t", "size"), **fields}
    with pytest.raises(RecordError, match=named):
        records.write(path, run_record(), [wrong])
    with pytest.raises(RecordError, match=named):
        records.append(path, [wrong])
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_numbers_that_numpy_subclasses_from_float_are_plain(tmp_path: Path) -> None:
    path = records.write(
        tmp_path / "r.jsonl", run_record(), [verdict("m", "t", "size", value=np.float64(0.5))]
    )
    assert records.read(path).verdicts[0]["value"] == 0.5


def test_a_verdict_twice_or_of_another_run_is_not_written(tmp_path: Path) -> None:
    one = verdict("m", "t", "speed", 1)
    with pytest.raises(RecordError, match="verdict of line 2 again"):
        records.write(tmp_path / "r.jsonl", run_record(), [one, {**one, "value": 3.0}])
    with pytest.raises(RecordError, match="of the run 'other'"):
        records.write(tmp_path / "r.jsonl", run_record(), [{**one, "run": "other"}])
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_half_way_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        records.write(path, run_record(), [])
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_reader_of_the_old_file_never_sees_half_of_the_new_one(path: Path) -> None:
    before = path.read_bytes()
    with path.open("rb") as reader:
        head = reader.read(10)
        records.write(path, run_record(), [])
        assert head + reader.read() == before
    assert records.read(path).verdicts == []


def test_a_file_cut_off_anywhere_is_never_read_as_if_it_were_whole(path: Path) -> None:
    run = {"kind": "run", "schema": 1, "run": RUN, "complete": True}
    records.write(path, run, [verdict("m", "t", gate) for gate in ("size", "reload")])
    content = path.read_bytes()
    whole = records.read(path)
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")][:-1]
    for length in (*range(0, len(content) - 1, 7), *ends, len(content) - 2):
        path.write_bytes(content[:length])
        with pytest.raises(RecordError):
            records.read(path)
    path.write_bytes(content[:-1])  # only the last line end is gone: nothing is lost
    assert records.read(path) == whole


def _damage(kind: str, lines: list[str]) -> list[str]:
    first, second = json.loads(lines[0]), json.loads(lines[1])
    changed = {
        "cut": [*lines[:-1], lines[-1][:40]],
        "lost line": lines[:-1],
        "foreign": [*lines[:3], "Traceback (most recent call last):", *lines[4:]],
        "no run": lines[1:],
        "two runs": [lines[0], *lines],
        "future run": [json.dumps({**first, "schema": 2}), *lines[1:]],
        "future verdict": [lines[0], json.dumps({**second, "schema": 7}), *lines[2:]],
        "NaN": [lines[0], lines[1].replace('"value":1.0', '"value":NaN'), *lines[2:]],
        "1e999": [lines[0], lines[1].replace('"value":1.0', '"value":1e999'), *lines[2:]],
        "huge": [lines[0], lines[1].replace('"value":1.0', '"value":' + "9" * 400), *lines[2:]],
        "field twice": [lines[0], lines[1].replace('"value":1.0', '"value":1,"value":2')],
        "verdict twice": [*lines[:3], lines[2], *lines[4:]],
        "other run": [lines[0], lines[1].replace(RUN, "other"), *lines[2:]],
        "status": [lines[0], lines[1].replace('"PASS"', '"GREEN"'), *lines[2:]],
        "array": [lines[0], "[1, 2]", *lines[2:]],
        "blank": [lines[0], "", *lines[2:]],
        "deep": [lines[0], "[" * 100_000, *lines[2:]],
    }
    return changed[kind]


@pytest.mark.parametrize(
    ("kind", "line", "found"),
    [
        ("cut", 10, "cut off"),
        ("lost line", 9, "8 verdicts where the run's line states 9"),
        ("foreign", 4, "not strict JSON"),
        ("no run", 1, "'verdict' where a run belongs"),
        ("two runs", 2, "'run' where a verdict belongs"),
        ("future run", 1, "schema 2, newer than"),
        ("future verdict", 2, "schema 7, newer than"),
        ("NaN", 2, "NaN is not JSON"),
        ("1e999", 2, "'value' is inf"),
        ("huge", 2, "'value' is a whole number that no float can hold"),
        ("field twice", 2, "a field is there twice"),
        ("verdict twice", 4, "the verdict of line 3 again"),
        ("other run", 2, "a verdict of the run 'other'"),
        ("status", 2, "'status' is 'GREEN'"),
        ("array", 2, "a list where a record belongs"),
        ("blank", 2, "not strict JSON"),
        ("deep", 2, "not strict JSON"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(
    path: Path, kind: str, line: int, found: str
) -> None:
    _put(path, _damage(kind, _lines(path)))
    with pytest.raises(RecordError) as caught:
        records.read(path)
    error = caught.value
    assert (error.path, error.line) == (path, line)
    assert found in error.found
    assert error.advice
    assert str(error).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n \n"])
def test_an_empty_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(RecordError, match="the file is empty"):
        records.read(path)
    with pytest.raises(RecordError, match="the file is empty"):
        records.read_partial(path)


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(RecordError, match="no such record file"):
        records.read(tmp_path / "elsewhere")
    path.write_bytes(path.read_bytes().replace(b"resnet18-onnx", b"resnet18-\xff", 1))
    with pytest.raises(RecordError, match=r":2: bytes that are not UTF-8"):
        records.read(path)


def test_the_whole_part_of_a_damaged_file_is_read_on_request(path: Path) -> None:
    whole = records.read(path)
    lines = _lines(path)
    _put(path, [*lines[:3], "nonsense", *lines[4:-1], lines[-1][:-5]])
    found = records.read_partial(path)
    assert found.run == whole.run
    assert found.verdicts == whole.verdicts[:2] + whole.verdicts[3:-1]
    assert len(found.problems) == 2
    assert f"{path}:4: " in found.problems[0]
    assert f"{path}:10: " in found.problems[1]
    assert records.read_partial(records.write(path, whole.run, whole.verdicts)).problems == []


def test_appending_gives_the_bytes_that_writing_all_gives(tmp_path: Path) -> None:
    run = run_record(complete=False)
    verdicts = cell("m", "t", samples=2)
    path = records.write(tmp_path / "a.jsonl", run, verdicts[:2])
    records.append(path, verdicts[2:5])
    records.append(path, verdicts[5:])
    assert path.read_bytes() == records.write(tmp_path / "b.jsonl", run, verdicts).read_bytes()


def test_an_append_after_a_torn_one_loses_only_the_torn_line(tmp_path: Path) -> None:
    verdicts = cell("m", "t", samples=2)
    path = records.write(tmp_path / "r.jsonl", run_record(complete=False), verdicts[:2])
    with path.open("ab") as file:
        file.write(b'{"kind":"verdict","sch')
    records.append(path, verdicts[3:])
    with pytest.raises(RecordError, match=r":4: "):
        records.read(path)
    assert records.read_partial(path).verdicts == verdicts[:2] + verdicts[3:]


def _keywords(node: object, inside: str = "") -> set[str]:
    if isinstance(node, list):
        return set().union(*(_keywords(part) for part in node)) if node else set()
    if not isinstance(node, dict):
        return set()
    own = set() if inside in ("properties", "$defs") else set(node)
    return own.union(*(_keywords(part, name) for name, part in node.items()))


def test_the_published_schema_says_nothing_that_is_not_checked() -> None:
    checked = {
        "type", "const", "enum", "required", "properties", "additionalProperties", "items",
        "minimum", "maximum", "minLength", "$ref",
    }  # fmt: skip
    assert _keywords(schema.load()) == checked | {"$schema", "$defs", "title", "oneOf"}
    assert "memory" in schema.choices("gate")
    assert len(schema.choices("status")) == 8
