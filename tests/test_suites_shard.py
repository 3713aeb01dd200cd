"""--shard I/N: every cell in one part, the same one on every machine, and parts that take alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import ROOT

from suites.durations import Durations
from suites.matrix import Cell
from suites.options import Settings
from suites.selection import FILE, Selection, select
from suites.shard import MOST, Costs, Shard, described, split

pytest_plugins = ["pytester"]

MODELS, TECHNIQUES = ("small", "large", "other"), tuple("abcdefgh")


def cell(model: str, technique: str) -> Cell:
    return Cell(model, technique, "cpu", (), "A", "family", False)


def costs(seen: dict[str, list[float]], stage: str | None = None) -> Costs:
    durations = Durations(Path("/nowhere"))
    durations.seen = seen
    return Costs(durations, stage)


CELLS = st.lists(
    st.builds(cell, st.sampled_from(MODELS), st.sampled_from(TECHNIQUES)), unique=True, max_size=24
)
SEEN = st.dictionaries(
    st.builds(
        lambda stage, model, technique: f"{stage} {model}-{technique}-cpu",
        st.sampled_from(("apply", "examine", "memory", "speed")),
        st.sampled_from(MODELS),
        st.sampled_from(TECHNIQUES),
    ),
    st.lists(st.floats(0.001, 5000), min_size=1, max_size=5),
)
STAGES = st.sampled_from((None, "build", "measure"))


@given(CELLS, st.integers(1, 9), SEEN, STAGES, st.randoms())
def test_every_cell_is_in_one_part_whatever_order_they_come_in(cells, of, seen, stage, random):
    parts = split(cells, of, costs(seen, stage))
    assert len(parts) == of
    assert sorted(one for part in parts for one in part) == sorted(one.id for one in cells)
    assert all(parts[: len(cells)]), "a part is empty though there were cells for it"
    shuffled = list(cells)
    random.shuffle(shuffled)
    assert split(shuffled, of, costs(seen, stage)) == parts


@given(CELLS.filter(bool), st.integers(1, 9), SEEN, STAGES)
def test_no_part_takes_longer_than_the_mean_and_one_cell(cells, of, seen, stage):
    """The bound of greedy scheduling, with what a model costs once counted where it is paid."""
    told = costs(seen, stage)
    by_id = {one.id: one for one in cells}
    loads = []
    for part in split(cells, of, told):
        held = [by_id[name] for name in part]
        once = sum(told.once(*place) for place in {(one.model, one.target) for one in held})
        loads.append(once + sum(map(told.cell, held)))
    single = max(told.cell(one) + told.once(one.model, one.target) for one in cells)
    assert max(loads) <= sum(loads) / of + single + 1e-6


def test_a_part_that_only_measures_counts_no_training():
    seen = {"train small": [5000.0], "apply small-a-cpu": [3000.0]}
    for stage, least in (("measure", 0), ("build", 8000), (None, 8000)):
        told = costs(seen, stage)
        total = told.once("small", "cpu") + told.cell(cell("small", "a"))
        assert (total >= 8000) == bool(least), stage


def test_the_record_names_the_split_and_every_part_of_it_the_same():
    parts = [["a"], ["b", "c"]]
    first, second = (described(Shard(number, 2), parts) for number in (1, 2))
    assert first == {"number": 1, "of": 2, "split": second["split"]}
    assert described(Shard(1, 2), [["a", "b"], ["c"]])["split"] != first["split"]


@given(st.integers(1, MOST), st.integers(1, MOST))
def test_parts_are_counted_from_one(number, of):
    if number > of:
        with pytest.raises(pytest.UsageError, match="I/N with I from 1 to N"):
            Shard.parse(f"{number}/{of}")
    else:
        assert Shard.parse(f"{number}/{of}") == Shard(number, of)


@pytest.mark.parametrize(
    "text",
    ["0/5", "6/5", "5/0", "0/0", "two/five", "", "3", "1/2/3", "-1/5", "1.0/2", " 1/2", "²/5"],
)
def test_anything_else_is_a_usage_error_that_says_what_to_write(text):
    with pytest.raises(pytest.UsageError) as error:
        Shard.parse(text)
    assert str(error.value).startswith(f"--shard: found {text!r}, expected I/N with I from 1 to N")


@given(st.text())
def test_no_text_is_anything_but_a_part_or_a_usage_error(text):
    try:
        found = Shard.parse(text)
    except pytest.UsageError:
        return
    assert str(found) == "/".join(str(int(one)) for one in text.split("/"))


def settings(tmp_path: Path, *, resume: bool, shard: str = "1/2") -> Settings:
    """As much of the settings as choosing cells reads."""
    chosen = object.__new__(Settings)
    values = {"shard": Shard.parse(shard), "changed_since": None, "resume": resume, "stage": None}
    for name, value in {**values, "cache": tmp_path, "report": tmp_path / "out"}.items():
        object.__setattr__(chosen, name, value)
    return chosen


def test_a_resumed_run_keeps_its_part_though_durations_have_changed(tmp_path):
    cells = [cell("small", name) for name in TECHNIQUES]

    def chosen(*, resume: bool) -> Selection:
        return select(settings(tmp_path, resume=resume), None, cells)  # type: ignore[arg-type]

    first = chosen(resume=False)
    first.keep(settings(tmp_path, resume=False))
    slow = {f"speed {one.id}": [1.0] for one in cells} | {f"speed {cells[0].id}": [4000.0]}
    (tmp_path / "durations.json").write_text(json.dumps(slow))
    assert chosen(resume=True) == first
    assert chosen(resume=False) != first
    other = select(settings(tmp_path, resume=True), None, cells[:-1])  # type: ignore[arg-type]
    assert {one.id for one in other.cells} <= {one.id for one in cells[:-1]}
    (kept,) = (tmp_path / "runs").glob(f"*/{FILE}")
    kept.write_text("[cut off")
    assert chosen(resume=True).cells


def test_parts_are_whole_cells_and_together_all_of_them(pytester):
    def names(*words: str) -> set[str]:
        result = pytester.runpytest_subprocess(
            str(ROOT / "suites"), "--co", "-q", "--model=digits_mlp", *words
        )
        assert result.ret == 0
        return {line.partition("::")[2] for line in result.outlines if "::" in line}

    whole = names()
    parts = [names("--shard", f"{number}/3", "--cache", "cache") for number in (1, 2, 3)]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole)
    cells = [{name.partition("[")[2].partition("-cpu")[0] for name in part} for part in parts]
    assert len(set.union(*cells)) == sum(map(len, cells))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shard", "6/5"), "*--shard: found '6/5', expected I/N*"),
        (
            ("--shard", "1/9", "--technique=none"),
            "*--shard 1/9: 1 cells cannot be split into 9 parts; ask for fewer parts*",
        ),
    ],
)
def test_misuse_ends_with_exit_code_4(pytester, words, told):
    result = pytester.runpytest_subprocess(
        str(ROOT / "suites"), "--co", "--model=digits_mlp", *words
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])
