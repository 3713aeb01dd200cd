"""`reports waive`: a waiver for exactly one gate of one cell, which the suites then read."""

from __future__ import annotations

import datetime
import os

import pytest
from reports_fixtures import cell, run_record

from gauge.policy import CellFacts, Known, Policy
from reports import __main__ as command
from reports import records

POLICY = """# Ours.
[[limit]]
gate = "speed"
min = 3.0
reason = "r"  # why"""
CELL = "vit-prune:0.5-cpu"
SAID = ("--reason", 'slower since "2.15"', "--issue", "#7", "--owner", "release")
ASKED = (CELL, "speed-b1", *SAID, "--expires", "2999-01-31", "--floor", "1.9")


@pytest.fixture
def waive(tmp_path, monkeypatch, capsys):
    """Runs the command beside a policy and the records of a run in which gates fail."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY)
    verdicts = cell("vit", "prune:0.5")
    for one in verdicts:
        if one["gate"] in ("speed", "size", "evidence"):
            one |= {"status": "FAIL", "reason": "r"}
        if one["gate"] == "memory":
            one |= {"status": "ERROR", "value": None, "reason": "r"}
        if (one["gate"], one["batch"]) == ("speed", 1):
            one["value"] = 2.0
    records.write(tmp_path / "reports/out/records.jsonl", run_record(), verdicts)

    def start(*words):
        code = command.main(["waive", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return start


def test_a_waiver_is_written_below_what_is_there_and_covers_that_gate_alone(waive, tmp_path):
    os.chmod(tmp_path / "policy.toml", 0o640)
    code, said, _ = waive(*ASKED)
    assert code == 0
    text = (tmp_path / "policy.toml").read_text()
    assert text.startswith(POLICY + "\n\n[[waiver]]\n")
    assert '+reason = "slower since \\"2.15\\""\n' in said
    assert (tmp_path / "policy.toml").stat().st_mode & 0o777 == 0o640
    policy = Policy.read("policy.toml", Known.anything())
    facts = CellFacts("vit", "prune:0.5", "pruning", "B", "cpu")
    waiver = policy.waiver(facts, "speed", 1)
    assert (waiver.floor, waiver.issue, waiver.owner) == (1.9, "#7", "release")
    assert waiver.expires == datetime.date(2999, 1, 31)
    assert policy.waiver(facts, "speed", 32) is None
    assert policy.waiver(facts, "size") is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_gate_without_a_limit_takes_no_floor(waive, tmp_path):
    assert waive(CELL, "evidence", *SAID, "--expires", "2999-01-31", "--optional")[0] == 0
    (waiver,) = Policy.read("policy.toml", Known()).waivers
    assert (waiver.gate, waiver.floor, waiver.optional) == ("evidence", None, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({0: "vit-none-cpu"}, "has no cell 'vit-none-cpu'; there are: vit-prune:0.5-cpu"),
        ({1: "speed"}, "was not asked for 'speed'; there are: evidence, "),
        ({1: "accuracy"}, "is PASS; only FAIL and INCONCLUSIVE can be waived"),
        ({1: "memory-b1"}, "is ERROR, which measured nothing, so no floor can be kept"),
        ({-1: "2.1"}, "--floor 2.1 is not kept (measured: 2.00×"),
        ({-1: "nan"}, "--floor 'nan'; write a number such as 0.9"),
        ({-1: "-1"}, "--floor '-1'"),
        ({-3: "31.1.2027"}, "--expires '31.1.2027'; write a day as 2027-01-31"),
        ({-3: "2020-01-31"}, "--expires 2020-01-31, a day that is past"),
        ({3: " "}, "an empty --reason"),
    ],
)
def test_what_could_not_hold_is_refused_with_what_to_write(waive, tmp_path, changes, said):
    words = list(ASKED)
    for place, word in changes.items():
        words[place] = word
    if words[-1] == "-1":
        words[-2:] = ["--floor=-1"]
    code, out, error = waive(*words)
    assert (code, out) == (4, "")
    assert said in error
    assert (tmp_path / "policy.toml").read_text() == POLICY


def test_a_floor_must_be_named_and_the_measured_value_is_told(waive):
    code, _, error = waive(*ASKED[:-2])
    assert code == 4
    assert "no --floor (measured: 2.00×" in error
    assert "name one, at most that" in error


def test_the_same_is_not_waived_twice_and_a_tie_is_no_waiver(waive, tmp_path):
    assert waive(*ASKED)[0] == 0
    once = (tmp_path / "policy.toml").read_text()
    code, _, error = waive(*ASKED)
    assert code == 4
    assert f"policy.toml:7 waives {CELL} speed-b1 until 2999-01-31 already; change" in error
    other = once.replace('target = "cpu"', 'class = "A"')
    (tmp_path / "policy.toml").write_text(other)
    code, _, error = waive(*ASKED)
    assert code == 4
    assert "two equally specific speed waivers" in error
    assert (tmp_path / "policy.toml").read_text() == other


def test_a_policy_that_cannot_be_read_is_left_as_it_is(waive, tmp_path):
    (tmp_path / "policy.toml").write_text("[[limit]")
    code, _, error = waive(*ASKED)
    assert code == 4
    assert "policy.toml:1: found no valid TOML" in error
    assert (tmp_path / "policy.toml").read_text() == "[[limit]"
