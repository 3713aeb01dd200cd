"""The cache: whole entries only, and a damaged one is named."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.cache import MANIFEST, Cache, DamagedEntry, digest


def stored(cache: Cache, key: str = "k" * 64) -> Path:
    with cache.scratch() as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights.bin").write_bytes(b"12345")
        (folder / "notes.json").write_text("{}")
        return cache.store("things", key, folder, {"n": 1}).path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_what_was_stored_is_opened_with_its_data(cache):
    path = stored(cache)
    entry = cache.open("things", "k" * 64)
    assert entry.path == path
    assert entry.meta == {"n": 1}
    assert (entry.path / "inner" / "weights.bin").read_bytes() == b"12345"


def test_nothing_there_is_no_entry(cache):
    assert cache.open("things", "other") is None
    assert not cache.has("things", "other")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda p: (p / "inner" / "weights.bin").write_bytes(b"12346"), "weights.bin: differs"),
        (lambda p: (p / "inner" / "weights.bin").write_bytes(b""), "weights.bin: differs"),
        (lambda p: (p / "inner" / "weights.bin").unlink(), "weights.bin: missing"),
        (lambda p: (p / "extra.pkl").write_bytes(b"x"), "extra.pkl: not in the manifest"),
        (lambda p: (p / MANIFEST).write_text('{"key": "'), f"{MANIFEST}: not a whole manifest"),
        (lambda p: (p / MANIFEST).unlink(), f"{MANIFEST}: not a whole manifest"),
        (lambda p: (p / MANIFEST).write_text("[]"), f"{MANIFEST}: not a whole manifest"),
    ],
)
def test_a_damaged_entry_names_the_file(cache, damage, named):
    damage(stored(cache))
    with pytest.raises(DamagedEntry, match=named):
        cache.open("things", "k" * 64)


def test_an_entry_of_another_key_is_not_taken_for_this_one(cache):
    path = stored(cache, "a" * 64)
    path.rename(cache.path("things", "b" * 64))
    with pytest.raises(DamagedEntry, match="another key"):
        cache.open("things", "b" * 64)


def test_a_build_that_fails_leaves_nothing(cache):
    def build() -> None:
        with cache.scratch() as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert list(cache.root.iterdir()) == []


def _count(root: str, counter: str) -> None:
    cache = Cache(Path(root))
    with cache.lock("things", "k" * 64):
        if cache.open("things", "k" * 64) is None:
            with Path(counter).open("a") as file:
                file.write("built\n")
            stored(cache)


def test_processes_that_want_the_same_entry_build_it_once(tmp_path):
    counter = tmp_path / "count"
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path / "cache"), str(counter))
    workers = [context.Process(target=_count, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert counter.read_text() == "built\n"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), plain))
def test_a_digest_ignores_the_order_of_keys_and_nothing_else(data):
    reordered = dict(reversed(list(data.items())))
    assert digest(data) == digest(reordered) == digest(json.loads(json.dumps(data)))
    assert digest(data) != digest({**data, "one more key for certain": 1})
