"""`python -m reports` over a history, as people use it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import history_generated as generated
import pytest
import reports_fixtures as fixtures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports import merging, records
from reports.__main__ import main
from reports.history import trend
from reports.history.store import History
from reports.records import RecordError, Records


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History.open(tmp_path / "history", create=True)


@pytest.fixture
def say(history, capsys):
    """Runs a command on the history: exit code, what it printed, what it said on stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--history", str(history.path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.mark.parametrize(
    "command", ["list", "show", "compare", "trend", "merge", "accept", "prune", "bisect"]
)
def test_each_command_has_help_that_says_what_it_does(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--history DIR" in text
    assert len(text.splitlines()) > 8


@pytest.mark.parametrize("package", ["duckdb", "ruptures"])
def test_an_absent_package_is_named_with_the_line_that_installs_it(
    say, history, monkeypatch, package
):
    for number in range(6):
        generated.add(history, number, ratios={"t": 4.0})
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = say("trend", "resnet18", "t")
    assert code == 4
    assert f"{package}, which is not installed; pip install 'optgauge[history]'" in err.lower()


def test_an_empty_history_says_how_to_fill_it(say, history):
    code, out, _ = say("list")
    assert code == 0
    assert f"pytest suites/ --history {history.path}" in out


def test_list_marks_the_accepted_run(say, history):
    first, second = (generated.add(history, n, ratios={"t": 4.0}) for n in (1, 2))
    assert say("accept", first, "--yes")[0] == 0
    code, out, _ = say("list")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith(f"* {first}")
    assert lines[1].startswith(f"  {second}")
    assert "PASS" in lines[0]
    assert "AMD EPYC" in lines[0]
    code, out, _ = say("list", "--last", "1")
    assert first not in out
    assert "1 older runs are not shown" in out


def test_show_tells_a_run_by_part_of_its_name(say, history):
    name = generated.add(history, 1, ratios={"t": 4.0})
    code, out, _ = say("show", "000001")
    assert code == 0
    assert name in out
    assert "# " in out
    assert "threads: 1" in out


def test_accept_shows_the_difference_before_it_asks(say, history, monkeypatch):
    first = generated.add(history, 1, ratios={"t": 4.0})
    second = generated.add(history, 2, ratios={"t": 3.0})
    assert say("accept", first, "--yes")[0] == 0
    code, out, err = say("accept", second)
    assert code == 4
    assert "resnet18-t-cpu speed b1: 4.0" in out
    assert "add --yes" in err
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or "n")
    code, out, _ = say("accept", second)
    assert code == 1
    assert asked[0].startswith(f"Make {second} the baseline of ")
    assert history.resolve("accepted") == first
    monkeypatch.setattr("builtins.input", lambda text: "y")
    assert say("accept", second)[0] == 0
    assert history.resolve("accepted") == second
    assert say("accept", second)[1].endswith("already\n")


def test_a_contaminated_run_is_not_accepted(say, history):
    name = generated.add(history, 1, ratios={"t": 4.0}, contaminated=True)
    code, _, err = say("accept", name, "--yes")
    assert code == 4
    assert "contaminated" in err


def test_accept_keeps_the_artifacts_that_a_cache_has(say, history, tmp_path):
    folder = tmp_path / "cache" / "artifacts" / ("k" * 32) / "artifact"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    sha256 = hashlib.sha256(b"{}").hexdigest()
    known = {
        "resnet18-a-cpu": {"sha256": sha256, "key": "k" * 64},
        "resnet18-b-cpu": {"sha256": "0" * 64, "key": "k" * 64},
    }
    name = generated.add(history, 1, ratios={"a": 4.0, "b": 4.0}, artifacts=known)
    for _ in range(2):
        code, out, _ = say("accept", name, "--yes", "--artifacts", str(tmp_path / "cache"))
        assert code == 0
        assert "1 artifact of" in out
        assert "the artifact of resnet18-b-cpu" in out
    assert [path.name for path in (history.path / "artifacts").iterdir()] == [sha256]


def test_each_machine_class_has_a_baseline_of_its_own(say, history):
    there = {**generated.header(0)["machine"], "cpu": "another CPU"}
    first = generated.add(history, 1, ratios={"t": 4.0})
    second = generated.add(history, 2, ratios={"t": 4.0}, machine=there)
    for name in (first, second):
        assert say("accept", name, "--yes")[0] == 0
    assert {one.run for one in history.accepted.values()} == {first, second}
    code, out, _ = say("compare", first, second)
    assert code == 1
    assert "NO_BASELINE: the machines differ" in out
    assert "cpu: AMD EPYC 9V74 80-Core Processor, then another CPU" in out
    assert "accepted" in say("show", "accepted")[2]


def test_compare_takes_a_report_s_folder_too(say, history, tmp_path):
    first = generated.add(history, 1, ratios={"t": 4.0})
    run = generated.header(2)
    lines = [{**one, "run": run["run"]} for one in fixtures.cell("resnet18", "t", speed=2.0)]
    records.write(tmp_path / "out" / records.FILE, run, lines)
    code, out, _ = say("compare", first, str(tmp_path / "out"))
    assert code == 1
    assert "worse" in out
    assert "accuracy: no per-sample results of the later run: resnet18-t-cpu" in out


def test_prune_keeps_baselines_and_the_last_runs(say, history):
    names = [generated.add(history, n, ratios={"t": 4.0}) for n in range(6)]
    say("accept", names[0], "--yes")
    assert say("prune", "--keep", "2")[0] == 4
    assert len(history.names) == 6
    code, out, _ = say("prune", "--keep", "2", "--yes")
    assert code == 0
    assert history.names == [names[0], *names[-2:]]
    assert "removed 3 runs; 3 are left" in out
    assert say("prune", "--keep", "2", "--yes")[1] == "nothing to remove\n"


# Trend


def test_a_trend_shows_steps_upgrades_and_other_weights(say, history):
    upgraded = {**generated.header(0)["versions"], "onnxruntime": "1.33.0"}
    for number in range(24):
        changes = {"versions": upgraded} if number >= 12 else {}
        if number >= 22:
            changes["models"] = {"resnet18": {"sha256": "f" * 64}}
        ratio = 4.0 if number < 12 else 4.4
        generated.add(history, number, ratios={"t": ratio}, **changes)
    code, out, _ = say("trend", "resnet18", "t")
    assert code == 0
    marked = {line.split()[0]: line for line in out.splitlines() if "←" in line}
    assert list(marked) == [generated.run_id(12), generated.run_id(22)]
    assert re.search(r"step of \+(9|10)\.\d %", marked[generated.run_id(12)])
    assert "onnxruntime: 1.32.0, then 1.33.0" in marked[generated.run_id(12)]
    assert "baseline model changed" in marked[generated.run_id(22)]
    spark = out.splitlines()[1].split()[0]
    assert len(spark) == 24
    assert spark[0] in "▁▂▃"
    assert spark[20] in "▆▇█"


def test_a_trend_leaves_other_machines_out_and_says_so(say, history):
    there = {**generated.header(0)["machine"], "threads": 4}
    generated.add(history, 1, ratios={"t": 9.0}, machine=there)
    generated.add(history, 2, ratios={"t": 4.0})
    out = say("trend", "resnet18", "t")[1]
    assert "1 run of other machine classes left out" in out
    assert "9.0" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nix", "t"), "no run measured the speed of nix with t at batch 1"),
        (("resnet18", "t", "--batch", "7"), "at batch 7"),
        (("resnet18", "t", "--target", "cuda"), "not measured on 'cuda'; there are: cpu"),
        (("resnet18", "t", "--machine", "abc"), "no run of machine class abc"),
        (("resnet18", "t", "--out", "x.gif"), "end it in .svg or .html"),
    ],
)
def test_a_trend_that_cannot_be_shown_says_why(say, history, words, said):
    generated.add(history, 1, ratios={"t": 4.0})
    code, _, err = say("trend", *words)
    assert code == 4
    assert said in err


@pytest.mark.parametrize("gate", trend.GATES)
@pytest.mark.parametrize("ending", ["svg", "html"])
def test_a_trend_s_picture_needs_no_network_and_is_well_formed(
    say, history, tmp_path, gate, ending
):
    from xml.etree import ElementTree

    for number in range(8):
        generated.add(history, number, ratios={"t<b>": 4.0 - 0.3 * (number > 4)})
    path = tmp_path / f"trend.{ending}"
    assert say("trend", "resnet18", "t<b>", "--gate", gate, "--out", str(path))[0] == 0
    text = path.read_text()
    if ending == "svg":
        assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "<b>" not in text
    assert not re.search(r"(src|href)=.?https?:", text)
    assert "<script" not in text


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=50))
def test_a_sparkline_has_a_bar_a_value_and_keeps_their_order(values):
    bars = trend.sparkline(values)
    assert len(bars) == len(values)
    places = [trend.BARS.index(bar) for bar in bars]
    for one, here in zip(values, places, strict=True):
        assert all(
            here <= there for other, there in zip(values, places, strict=True) if one < other
        )


# Merging


def shard(number: int, technique: str, **changes: object) -> Records:
    """One of two shards: a part of a run, with a cell of its own."""
    part = {"number": number, "of": 2, "split": "s"}
    own = {"shard": part, "selected_cells": 1, "commit": "0" * 40}
    run = generated.header(number, **{**own, **changes})
    lines = [{**one, "run": run["run"]} for one in fixtures.cell("resnet18", technique)]
    return Records(run, lines)


def written(tmp_path: Path, *shards: Records) -> list[str]:
    """The shards as folders that a run wrote."""
    folders = []
    for number, one in enumerate(shards):
        folder = tmp_path / f"shard{number}"
        records.write(folder / records.FILE, one.run, one.verdicts)
        cells = sorted({verdict["id"] for verdict in one.verdicts})
        generated.write_samples(folder / "samples", cells, 0)
        folders.append(str(folder))
    return folders


def test_shards_become_one_run_with_its_page_and_samples(say, history, tmp_path):
    told = {"accepted": "R", "compared": 1, "reason": None}
    both = {"new": [], "renamed": {}, "errored": [], "gains": [], "software": []}
    one = shard(1, "a", history={**told, **both, "missing": ["x", "resnet18-b-cpu"]})
    other = shard(2, "b", history={**told, **both, "missing": ["resnet18-a-cpu", "x"]})
    out = tmp_path / "merged"
    code, text, _ = say("merge", *written(tmp_path, one, other), "--out", str(out))
    assert code == 0
    found = records.read(out)
    assert len(found.verdicts) == 18
    assert found.run["shards"] == [generated.run_id(1), generated.run_id(2)]
    assert (found.run["selected_cells"], found.run["shard"]) == (2, None)
    assert (found.run["history"]["compared"], found.run["history"]["missing"]) == (2, ["x"])
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        "resnet18-a-cpu.npz", "resnet18-b-cpu.npz",
    ]  # fmt: skip
    assert (out / "index.html").exists()
    assert "1 cell of the accepted run not measured" in text
    assert history.names == [found.run["run"]]


DIFFERENT = {
    "commit": {"commit": "f" * 40},
    "policy": {"policy_sha256": "f" * 64},
    "machine": {"machine": {**generated.header(0)["machine"], "threads": 2}},
    "software": {"versions": {"torch": "9.9"}},
    "options": {"effort": "quick"},
}


@pytest.mark.parametrize("kind", merging.KINDS)
def test_shards_that_differ_are_refused_unless_told(kind, say, tmp_path, history):
    folders = written(tmp_path, shard(1, "a"), shard(2, "b", **DIFFERENT[kind]))
    code, _, err = say("merge", *folders)
    assert code == 4
    assert f"{folders[1]}: another {kind} than the shard {folders[0]}: " in err
    assert f"allow it with --allow {kind}" in err
    assert history.names == []
    assert say("merge", *folders, "--allow", kind)[0] == 0


def test_shards_with_the_same_cell_another_split_or_a_part_missing_are_refused(say, tmp_path):
    for shards, said in (
        ((shard(1, "a"), shard(2, "a")), "shards judge different cells"),
        ((shard(1, "a"), shard(1, "b")), "no shard 2/2 is named"),
        ((shard(2, "alone"),), "no shard 1/2 is named"),
        (
            (
                shard(1, "a"),
                Records({**shard(2, "b").run, "shard": None}, shard(2, "b").verdicts),
            ),
            "a part of another split",
        ),
        ((shard(1, "a"), shard(2, "b", complete=False)), "is not complete"),
        (
            (shard(1, "a"), shard(2, "b", models={"resnet18": {"sha256": "f"}})),
            "other weights than in another shard",
        ),
    ):
        folder = tmp_path / said[:12]
        code, _, err = say("merge", *written(folder, *shards))
        assert code == 4
        assert said in err


def test_one_finished_run_can_be_added_later(say, tmp_path, history):
    run = generated.header(5)
    lines = [{**one, "run": run["run"]} for one in fixtures.cell("resnet18", "a")]
    (folder,) = written(tmp_path, Records(run, lines))
    assert say("merge", folder)[0] == 0
    assert history.names == [run["run"]]


def test_false_discovery_rates_are_over_all_shards():
    def tried(number: int, technique: str, p: float) -> Records:
        one = shard(number, technique)
        for verdict in one.verdicts:
            if verdict["gate"] == "accuracy":
                verdict["evidence"]["triage"] = {"p": p, "q": p, "of": 1}
        return one

    found = merging.merge([(Path("1"), tried(1, "a", 0.01)), (Path("2"), tried(2, "b", 0.2))])
    marks = [one["evidence"]["triage"] for one in found.verdicts if one["gate"] == "accuracy"]
    assert [(mark["q"], mark["of"]) for mark in marks] == [(pytest.approx(0.02), 2), (0.2, 2)]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(words)
def test_no_name_of_a_run_crashes_or_leads_out(history, name):
    with pytest.raises(RecordError, match=re.escape(str(history.path))):
        history.resolve(name)


def test_records_of_a_comparison_are_valid(tmp_path):
    told = {"accepted": None, "compared": 0, "reason": "the history holds no run yet"}
    run = generated.header(1, history=told)
    assert json.loads(records.encode(run))["history"] == told
    with pytest.raises(RecordError, match=r"history\.compared"):
        records.encode(generated.header(1, history={"accepted": None}))
