"""`cache export` and `cache import`: whole entries travel, and nothing else is taken."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.cache import MANIFEST, Cache, digest
from gauge.verdict import Status
from suites import archive, keys
from suites.__main__ import main
from suites.archive_reader import HEAD, ArchiveError
from suites.built import Built

Members = list[tuple[tarfile.TarInfo, bytes]]


def inputs(model: str, **other: Any) -> dict[str, Any]:
    """A key as suites/keys.py makes it, as far as carrying it goes."""
    given = {"model": model, "machine": ["x86_64", ["avx2"]], "threads": 1, "python": "3.11.7"}
    return {**given, "versions": {"torch": "2.14.1"}, **other}


def add(cache: Cache, kind: str, key: dict[str, Any], **files: bytes) -> str:
    name = digest(key)
    with cache.scratch() as folder:
        for file, content in files.items():
            path = folder / file.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        cache.store(kind, name, folder, {"sha256": "of weights"}, key)
    return name


@pytest.fixture
def full(tmp_path: Path) -> Cache:
    """A cache with a baseline, two artifacts, one of them compiled, and a refusal."""
    cache = Cache(tmp_path / "full")
    add(cache, "weights", inputs("small"), artifact__weights_dot_safetensors=b"weights")
    key = inputs("small", technique="onnxruntime", target=["cpu", {}])
    add(cache, "artifacts", key, artifact__model_dot_onnx=b"graph", in_memory_dot_npz=b"answers")
    key = inputs("small", technique="aot_inductor", target=["cpu", {}])
    add(cache, "artifacts", key, artifact__model_dot_pt2=b"machine code")
    Built(cache).note(inputs("small", technique="other"), Status.REFUSED, "no such package")
    (cache.root / "durations.json").write_text('{"train small": [3.5]}')
    return cache


@pytest.fixture
def packed(full: Cache, tmp_path: Path) -> Path:
    archive.pack(full, tmp_path / "a.tar")
    return tmp_path / "a.tar"


def tree(cache: Cache) -> dict[str, bytes]:
    """What a cache holds, without locks and the names of what came from elsewhere."""
    return {
        str(path.relative_to(cache.root)): path.read_bytes()
        for path in sorted(cache.root.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and "elsewhere" not in path.parts
    }


def test_a_fresh_cache_holds_the_same_afterwards(full, packed, tmp_path):
    fresh = Cache(tmp_path / "fresh")
    carried = archive.unpack(fresh, packed, compiled=True)
    assert dict(carried.entries) == {"weights": 1, "artifacts": 2, "stops": 1}
    assert not carried.left_out
    assert tree(fresh) == tree(full)
    again = archive.unpack(fresh, packed, compiled=True)
    assert (dict(again.entries), dict(again.there)) == ({}, dict(carried.entries))
    for kind in ("weights", "artifacts"):
        for folder in (fresh.root / kind).glob("*/"):
            name = json.loads((folder / MANIFEST).read_text())["key"]
            assert fresh.open(kind, name) is not None


def test_compiled_code_stays_out_unless_it_is_asked_for(packed, tmp_path):
    fresh = Cache(tmp_path / "fresh")
    carried = archive.unpack(fresh, packed)
    assert carried.left_out == ["small-aot_inductor"]
    assert not list(fresh.root.rglob("*.pt2"))


def test_an_imported_entry_serves_another_processor_and_compiled_code_does_not(packed, tmp_path):
    fresh = Cache(tmp_path / "fresh")
    archive.unpack(fresh, packed, compiled=True)
    built = Built(fresh)
    other = {"machine": ["x86_64", ["avx512f"]], "threads": 4, "python": "3.12.1"}
    assert built.find("weights", {**inputs("small"), **other}) is not None
    cell = {"technique": "onnxruntime", "target": ["cpu", {}]}
    assert built.find("artifacts", {**inputs("small", **cell), **other}) is not None
    compiled = inputs("small", technique="aot_inductor", target=["cpu", {}])
    assert built.find("artifacts", compiled) is not None
    assert built.find("artifacts", {**compiled, **other}) is None
    for changed in ({"machine": ["aarch64", []]}, {"versions": {"torch": "2.15.0"}}, {"seed": 1}):
        assert built.find("weights", {**inputs("small"), **changed}) is None


def test_an_executorch_program_is_data_and_serves_another_processor(tmp_path):
    cache, fresh = Cache(tmp_path / "full"), Cache(tmp_path / "fresh")
    key = inputs("small", technique="executorch", target=["cpu", {}])
    add(cache, "artifacts", key, artifact__model_dot_pte=b"program", in_memory_dot_npz=b"answers")
    archive.pack(cache, tmp_path / "a.tar")
    assert archive.unpack(fresh, tmp_path / "a.tar").left_out == []
    other = {**key, "machine": ["x86_64", ["avx512f"]]}
    assert Built(fresh).find("artifacts", other) is not None


def test_what_was_searched_by_times_serves_only_the_processor_that_took_them(tmp_path):
    cache, fresh = Cache(tmp_path / "full"), Cache(tmp_path / "fresh")
    key = inputs("small", technique="auto", target=["cpu", {}], **{keys.SEARCHED: "a fast one"})
    add(cache, "artifacts", key, artifact__model_dot_onnx=b"found")
    archive.pack(cache, tmp_path / "a.tar")
    archive.unpack(fresh, tmp_path / "a.tar")
    built = Built(fresh)
    assert built.find("artifacts", {**key, "python": "3.11.9"}) is not None
    for changed in (
        {keys.SEARCHED: "a slow one"},
        {"threads": 4},
        {"machine": ["x86_64", ["avx512f"]]},
    ):
        assert built.find("artifacts", {**key, **changed}) is None
    elsewhere = {**key, keys.SEARCHED: "a slow one", "threads": 4, "python": "3.12.1"}
    elsewhere["machine"] = ["x86_64", ["avx512f"]]
    status, reason = built.lacking("artifacts", elsewhere)
    assert status is Status.REFUSED
    assert "(the processor's instructions, the processor whose times decided (a fast" in reason
    assert "threads (1 there, 4 here)), which would find something else here" in reason
    assert built.lacking("artifacts", {**elsewhere, "seed": 1})[0] is Status.ERROR


def test_a_search_that_refused_says_so_on_any_processor(tmp_path):
    cache, fresh = Cache(tmp_path / "full"), Cache(tmp_path / "fresh")
    key = inputs("small", technique="auto", target=["cpu", {}], **{keys.SEARCHED: "a fast one"})
    Built(cache).note(key, Status.REFUSED, "no space to search")
    archive.pack(cache, tmp_path / "a.tar")
    archive.unpack(fresh, tmp_path / "a.tar")
    found = Built(fresh).lacking("artifacts", {**key, keys.SEARCHED: "a slow one"})
    assert found == (Status.REFUSED, "no space to search (when it was built)")


def test_what_is_lacking_is_told_with_what_differs(packed, tmp_path):
    fresh = Cache(tmp_path / "fresh")
    archive.unpack(fresh, packed)
    built = Built(fresh)
    key = inputs("small", versions={"torch": "2.15.0"}, source="edited")
    status, reason = built.lacking("weights", key)
    assert status is Status.ERROR
    assert reason.startswith("not built: the baseline of small is not in the cache")
    assert reason.endswith("differs in: its code, torch (2.14.1 there, 2.15.0 here)")
    status, reason = built.lacking("artifacts", inputs("small", technique="other"))
    assert (status, reason) == (Status.REFUSED, "no such package (when it was built)")


def test_a_damaged_import_is_named_and_dropped(packed, tmp_path):
    fresh = Cache(tmp_path / "fresh")
    archive.unpack(fresh, packed)
    (victim,) = fresh.root.rglob("*.safetensors")
    victim.write_bytes(b"damaged")
    elsewhere = {**inputs("small"), "threads": 2}
    with pytest.raises(Exception, match=f"{victim}: differs"):
        Built(fresh).find("weights", elsewhere)
    assert Built(fresh).find("weights", elsewhere) is None
    assert not Built(fresh).has("weights", elsewhere)
    (pointer,) = (fresh.root / "elsewhere" / "weights").iterdir()
    pointer.write_text("../../../home")
    assert Built(fresh).find("weights", elsewhere) is None


def test_equal_caches_give_equal_archives_without_anybody_s_name(full, packed, tmp_path):
    os.utime(next(full.root.rglob("*.onnx")), (1, 1))
    archive.pack(full, tmp_path / "b.tar")
    assert packed.read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(packed) as found:
        for member in found:
            assert (member.uname, member.gname, member.uid, member.mtime) == ("", "", 0, 0)
    assert str(tmp_path).encode() not in packed.read_bytes()


def test_only_what_was_used_lately(full, tmp_path):
    for path in full.root.glob(f"artifacts/*/{MANIFEST}"):
        os.utime(path, (1e9, 1e9))
    carried = archive.pack(full, tmp_path / "b.tar", used_within=1.0)
    assert dict(carried.entries) == {"weights": 1, "stops": 1}
    key = inputs("small", technique="onnxruntime", target=["cpu", {}])
    assert full.open("artifacts", digest(key)) is not None  # which is using it
    carried = archive.pack(full, tmp_path / "b.tar", used_within=1.0)
    assert carried.entries["artifacts"] == 1


def test_a_damaged_entry_is_left_out_and_named(full, tmp_path):
    next(full.root.rglob("*.onnx")).write_bytes(b"damaged")
    carried = archive.pack(full, tmp_path / "b.tar")
    assert carried.entries["artifacts"] == 1
    assert "model.onnx: differs from its SHA-256" in carried.left_out[0]


def test_durations_come_as_they_are_so_that_shards_are_split_alike(packed, tmp_path):
    fresh = Cache(tmp_path / "fresh")
    fresh.root.mkdir()
    (fresh.root / "durations.json").write_text('{"train small": [900.0], "apply x": [1.0]}')
    archive.unpack(fresh, packed)
    assert json.loads((fresh.root / "durations.json").read_text()) == {"train small": [3.5]}


# Archives that nobody should take


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as found:
        for member in found:
            content = found.extractfile(member)
            assert content is not None
            yield member, content.read()


def write(path: Path, content: Members) -> Path:
    with tarfile.open(path, "w") as made:
        for member, data in content:
            if member.isreg():
                member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return path


def renamed(name: str) -> Callable[[Members], None]:
    """The last file under another name."""

    def change(content: Members) -> None:
        content[-1][0].name = name

    return change


def linked(kind: bytes, to: str) -> Callable[[Members], None]:
    def change(content: Members) -> None:
        member = tarfile.TarInfo(f"weights/{'a' * 32}/weights.safetensors")
        member.type, member.linkname = kind, to
        content.append((member, b""))

    return change


def manifest(**other: Any) -> Callable[[Members], None]:
    """The first entry's manifest with other fields; None takes one away."""

    def change(content: Members) -> None:
        at = next(n for n, (member, _) in enumerate(content) if member.name.endswith(MANIFEST))
        data = {**json.loads(content[at][1]), **other}
        text = json.dumps({key: value for key, value in data.items() if value is not None})
        content[at] = content[at][0], text.encode()

    return change


def longer(content: Members) -> None:
    at = next(n for n, (member, _) in enumerate(content) if member.name.endswith("safetensors"))
    content[at] = content[at][0], content[at][1] + b"more"


def other_bytes(content: Members) -> None:
    at = next(n for n, (member, _) in enumerate(content) if member.name.endswith("safetensors"))
    content[at] = content[at][0], b"WEIGHTS"


def other_head(**fields: Any) -> Callable[[Members], None]:
    def change(content: Members) -> None:
        content[0] = content[0][0], json.dumps(fields).encode()

    return change


def not_json(content: Members) -> None:
    content[0] = content[0][0], b'{"schema": NaN}'


def twice(content: Members) -> None:
    content.extend(content[2:])


def listed_outside(content: Members) -> None:
    """A file outside of the cache that its manifest names, with the right hash."""
    at = next(n for n, (member, _) in enumerate(content) if member.name.endswith(MANIFEST))
    data = json.loads(content[at][1])
    name, facts = "../../../../x", next(iter(data["files"].values()))
    data["files"] = {name: facts}
    content[at] = content[at][0], json.dumps(data).encode()
    folder = content[at][0].name.rpartition("/")[0]
    content[at + 1][0].name = f"{folder}/{name}"


def without(place: int) -> Callable[[Members], None]:
    return lambda content: content.__delitem__(place)


CHANGES: dict[str, tuple[Callable[[Members], None], str]] = {
    "parent": (renamed(f"weights/{'a' * 32}/../../../x"), "lies outside of what a cache holds"),
    "listed parent": (listed_outside, "lies outside"),
    "absolute": (renamed("/etc/passwd"), "lies outside"),
    "elsewhere": (renamed("runs/x/journal"), "lies outside"),
    "same folder": (renamed(f"weights/{'a' * 32}/./x"), "lies outside"),
    "symbolic link": (linked(tarfile.SYMTYPE, "/etc/passwd"), "is a link, a folder or a device"),
    "hard link": (linked(tarfile.LNKTYPE, HEAD), "is a link"),
    "device": (linked(tarfile.CHRTYPE, ""), "is a link"),
    "folder": (linked(tarfile.DIRTYPE, ""), "is a link"),
    "stray file": (renamed(f"weights/{'a' * 32}/x"), "comes before its manifest"),
    "longer": (longer, "its manifest says otherwise"),
    "other bytes": (other_bytes, "differs from its SHA-256"),
    "unlisted": (manifest(files={}), "is not in its manifest"),
    "other key": (manifest(key="0" * 64), "has a manifest with another key"),
    "other inputs": (manifest(inputs=inputs("large")), "is not what its key says"),
    "no meta": (manifest(meta=None), "has a manifest of another form"),
    "no sizes": (manifest(files={"artifact/weights.safetensors": {}}), "without sizes and hashes"),
    "future schema": (other_head(schema=2, entries=4), "is of schema 2; 1 is known here"),
    "no number": (other_head(schema=1, entries="all"), "announces 'all' entries"),
    "not JSON": (not_json, "is not strict JSON"),
    "twice": (twice, "is there twice"),
    "no head": (without(0), "not an archive of `python -m suites cache export`"),
    "a file less": (without(3), "lacks artifact/weights.safetensors"),
    "no durations": (without(-1), "it was cut off"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_anything_else_is_refused_and_leaves_the_cache_as_it_was(name, packed, tmp_path):
    change, told = CHANGES[name]
    content = list(members(packed))
    change(content)
    fresh = Cache(tmp_path / "fresh")
    (fresh.root / "keep").mkdir(parents=True)
    with pytest.raises(ArchiveError, match=told):
        archive.unpack(fresh, write(tmp_path / "bad.tar", content), compiled=True)
    assert [path.name for path in fresh.root.iterdir()] == ["keep"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kept", [0, 1, 100, 512, 2000, 5000, 9000])
def test_an_archive_that_is_cut_off_is_refused(kept, packed, tmp_path):
    assert packed.stat().st_size > 9000
    cut = tmp_path / "cut.tar"
    cut.write_bytes(packed.read_bytes()[:kept])
    with pytest.raises(ArchiveError):
        archive.unpack(Cache(tmp_path / "fresh"), cut)


@given(st.binary(max_size=2000))
def test_no_bytes_do_anything_but_be_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "any.tar").write_bytes(content)
    with pytest.raises(ArchiveError):
        archive.unpack(Cache(folder / "fresh"), folder / "any.tar")
    assert not list((folder / "fresh").iterdir())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_no_name_reaches_outside(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    head = tarfile.TarInfo(HEAD), json.dumps({"schema": 1, "entries": 0}).encode()
    path = write(folder / "a.tar", [head, (tarfile.TarInfo(name), b"x")])
    with pytest.raises(ArchiveError):
        archive.unpack(Cache(folder / "fresh"), path)
    assert {one.name for one in folder.iterdir()} == {"a.tar", "fresh"}


# The command line


def test_the_command_says_what_was_carried(full, tmp_path, capsys):
    path = tmp_path / "out" / "a.tar"
    assert main(["cache", "export", str(path), "--cache", str(full.root)]) == 0
    told = capsys.readouterr().out
    assert "1 baseline, 2 artifacts, 1 reason why something was not built" in told
    sha256 = told.split("SHA-256 ")[1].strip()
    fresh = str(tmp_path / "fresh")
    words = ["cache", "import", str(path), "--cache", fresh]
    assert main([*words, "--sha256", "0" * 64]) == 4
    assert f"its SHA-256 is {sha256}, expected {'0' * 64}" in capsys.readouterr().err
    assert main([*words, "--sha256", sha256]) == 0
    told = capsys.readouterr().out
    assert "took 1 baseline, 1 artifact, 1 reason" in told
    assert "left out 1 with compiled code (small-aot_inductor): --compiled takes them" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["import", "absent.tar"], "absent.tar: there is no such file"),
        (["export", "a.tar", "--cache", "absent"], "absent: there is no cache"),
        (["export", "a.tar", "--used-within", "0"], "found '0', expected a number of hours"),
        (["export"], "the following arguments are required: FILE"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_misuse_is_exit_code_4_with_a_reason(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["cache", *words])
    except SystemExit as ended:
        code = ended.code
    assert code == 4
    assert told in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_named(packed, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["cache", "import", str(packed), "--cache", str(tmp_path / "file" / "c")]) == 4
    assert "error: " in capsys.readouterr().err
