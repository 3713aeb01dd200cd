"""What makes a speed suspect: the accepted run, and the best level of the runs before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import history_generated as generated
import pytest

from reports.history.index import Row
from reports.history.samples import Samples
from reports.history.side import Side
from reports.history.store import History
from suites.past import Past, Suspicion

BOUND = 0.97


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History.open(tmp_path / "history", create=True)


def filled(history: History, *ratios: float, **changes: Any) -> list[str]:
    """Nightly runs of one technique with these speedups."""
    return [
        generated.add(history, number, ratios={"t": ratio}, **changes)
        for number, ratio in enumerate(ratios)
    ]


def asked(history: History, ratio: float, **changes: Any) -> Suspicion | None:
    """What tonight's speedup of the technique looks like beside them."""
    run = generated.header(90, **changes)
    row = Row(
        run["run"], "resnet18", "t", "cpu", "speed", 1, "PASS", ratio, None, None,
        [math.log(ratio) + one for one in (-0.004, 0.0, 0.004)], None, None, None,
    )  # fmt: skip
    new = Side(run, {row.key: row}, Samples(history.path))
    return Past(history.path, run).suspicion(row, new, BOUND)


def test_a_fall_from_the_accepted_run_is_suspect(history):
    (name,) = filled(history, 4.0)
    history.accept(name)
    found = asked(history, 3.6)
    assert found is not None
    assert found.run == name
    assert f"speedup 3.6 where the accepted run {name} had 4" in str(found.told)
    same = asked(history, 3.95)
    assert same is not None
    assert same.told is None


def test_a_creep_over_several_acceptances_is_suspect(history):
    """Each run is within 3 % of the one accepted before it; the month is not."""
    names = filled(history, *(4.0 * 0.996**night for night in range(24)))
    for name in names[::4]:
        history.accept(name)
    found = asked(history, 4.0 * 0.996**24)
    assert found is not None
    assert found.change.change > BOUND
    assert "of the best level of the last 25, which ended with" in str(found.told)
    assert found.run in names[:12]


def test_a_new_level_begins_the_window_anew(history):
    names = filled(history, *(4.0 * 0.996**night for night in range(24)))
    history.accept(names[-2], "the exact kernel is slower")
    found = asked(history, 4.0 * 0.996**24)
    assert found is not None
    assert found.told is None


def test_runs_with_other_weights_contaminated_ones_and_other_machines_do_not_count(history):
    there = {**generated.header(0)["machine"], "threads": 9}
    for number, changes in enumerate(
        (
            {"models": {"resnet18": {"sha256": "f" * 64}}},
            {"contaminated": True},
            {"machine": there},
        )
    ):
        for night in range(8):
            number_ = number * 10 + night
            generated.add(history, number_, ratios={"t": 5.0}, **changes)
    later = [generated.add(history, 40 + night, ratios={"t": 4.0}) for night in range(8)]
    history.accept(later[-1])
    found = asked(history, 3.98)
    assert found is not None
    assert found.told is None


def test_a_steady_month_is_not_suspect(history):
    names = filled(history, *[4.0] * 29)
    history.accept(names[0])
    found = asked(history, 4.0)
    assert found is not None
    assert found.told is None


def test_why_there_is_nothing_to_compare_with(history):
    def absent(**changes: Any) -> str | None:
        return Past(history.path, generated.header(90, **changes)).absent

    assert "holds no run yet" in str(absent())
    (name,) = filled(history, 4.0)
    assert "no run of the history is accepted" in str(absent())
    history.accept(name)
    assert absent() is None
    there = {**generated.header(0)["machine"], "threads": 9}
    assert "another machine class: threads: 1, then 9" in str(absent(machine=there))
    history.remove(name)
    assert "is no longer in the history" in str(absent())


def test_a_cell_without_an_earlier_speed_pairs_nothing(history):
    name = generated.add(history, 0, ratios={"other": 4.0})
    history.accept(name)
    assert asked(history, 4.0) is None
