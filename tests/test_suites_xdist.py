"""Under pytest-xdist: several workers measure, one process writes every verdict."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import PLUGINS, assert_alone, suites

from gauge.turns import VARIABLE
from reports import records
from suites import catalog, matrix

pytest.importorskip("xdist", reason="pytest-xdist is not installed")


def test_times_are_units_of_their_own_for_models_and_for_trainings():
    from suites.distribution import ByCell

    asked = matrix.cells(catalog.read(), matrix="standard", targets=["cpu"], models=["lstm"])
    trained = matrix.cells(
        catalog.read(), matrix="standard", targets=["cpu"], models=["lstm"], suite="training"
    )
    config = SimpleNamespace(getvalue=lambda name: ["popen"])
    schedule = ByCell(config, None, [*asked, *trained], [1])
    scope = schedule._split_scope
    assert scope("suites/test_gates.py::test_speed[lstm-none-cpu-b1]") == "time lstm-none-cpu"
    assert scope("suites/test_gates.py::test_size[lstm-none-cpu]") == "build lstm-none-cpu"
    found = {
        scope(f"suites/test_training.py::test_training_{one}[lstm-amp_bf16-cpu]")
        for one in ("steps", "accuracy", "memory")
    }
    assert found == {"build lstm-amp_bf16-cpu"}
    timed = scope("suites/test_training.py::test_training_speed[lstm-amp_bf16-cpu]")
    assert timed == "time lstm-amp_bf16-cpu"


def assert_cells_stay(output: str) -> None:
    """Each cell's gates ran in one worker, which timed nothing before it had built its cells."""
    asked = re.findall(r"\[(gw\d)\].*::test_(\w+)\[(digits_mlp-\w+-cpu)", output)
    assert len(asked) == 2 * 9
    workers = {cell: {worker for worker, _, of in asked if of == cell} for _, _, cell in asked}
    assert sorted(map(list, workers.values())) == [["gw0"], ["gw1"]]
    for worker in ("gw0", "gw1"):
        gates = [gate for by, gate, _ in asked if by == worker]
        assert set(gates[gates.index("speed") :]) == {"speed"}


def test_two_workers_leave_one_whole_record(tmp_path: Path):
    ran = suites(
        tmp_path / "out",
        tmp_path / "cache",
        *("--model=digits_mlp", "--technique=none", "--technique=onnxruntime"),
        *("--effort=quick", "-n", "2", "--export", str(tmp_path / "export")),
        *("-v", f"--plugin={PLUGINS / 'traced.py'}"),
        environment={VARIABLE: str(tmp_path), "TRACE": str(tmp_path / "trace")},
    )
    assert ran.code in (0, 1), ran.output
    assert_alone(tmp_path / "trace", least=8)
    assert_cells_stay(ran.output)
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


def test_workers_time_the_steps_of_what_they_trained(tmp_path: Path):
    cells = ["normalised-bf16_anywhere-cpu", "normalised-bf16_anywhere:4-cpu"]
    ran = suites(
        tmp_path / "out",
        tmp_path / "cache",
        *("--model=normalised", "--technique=bf16_anywhere", "--effort=quick", "-n", "2", "-v"),
        *(f"--plugin={PLUGINS / name}.py" for name in ("traced", "trains")),
        environment={VARIABLE: str(tmp_path), "TRACE": str(tmp_path / "trace")},
    )
    assert_alone(tmp_path / "trace", least=8)
    found = records.read(ran.report).verdicts
    assert sorted({one["id"] for one in found}) == cells
    assert len(found) == 2 * 4
    assert not [one for one in found if one["status"] in ("ERROR", "REFUSED")], ran.output
    asked = re.findall(r"\[(gw\d)\].*::test_training_(\w+)\[(\S+)\]", ran.output)
    for cell in cells:
        assert len({worker for worker, _, of in asked if of == cell}) == 1
        assert [gate for _, gate, of in asked if of == cell][-1] == "speed"
    # One record of FP32's own steps, whichever workers measured it.
    (control,) = ran.run["aa"]
    assert (control["of"], control["model"]) == ("training step", "normalised")
    assert control["processes"] >= 4
