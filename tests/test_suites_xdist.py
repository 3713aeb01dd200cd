"""Under pytest-xdist: several workers measure, one process writes every verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import suites

from reports import records

pytest.importorskip("xdist", reason="pytest-xdist is not installed")


def test_two_workers_leave_one_whole_record(tmp_path: Path):
    ran = suites(
        tmp_path / "out",
        tmp_path / "cache",
        *("--model=digits_mlp", "--technique=none", "--technique=onnxruntime"),
        *("--effort=quick", "-n", "2", "--export", str(tmp_path / "export")),
    )
    assert ran.code in (0, 1), ran.output
    found = records.read(ran.report).verdicts
    assert len({(one["id"], one["gate"], one["batch"]) for one in found}) == len(found) == 2 * 9
    assert not [one for one in found if one["status"] == "ERROR"], ran.output
    assert ran.run["complete"] is True
    assert ran.run["models"]["digits_mlp"]["evaluation"] == 1000
    assert ran.run["selected_cells"] == 2
    assert [one["model"] for one in ran.run["aa"]].count("digits_mlp") >= 1
    assert (ran.report / "index.html").exists()
    statuses = {one["id"]: set() for one in found}
    for one in found:
        statuses[one["id"]].add(one["status"])
    good = {name for name, all_of in statuses.items() if all_of <= {"PASS", "NO_EXPECTATION"}}
    exported = tmp_path / "export"
    assert {one.name for one in exported.iterdir()} == good if good else not exported.exists()
