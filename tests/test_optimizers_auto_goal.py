"""auto: which trials are good enough, which is the best, and what may have been turned down."""

from __future__ import annotations

import math

import pytest
from auto_subjects import record, timed

from optimizers.auto_goal import DROPS, OVER, Goal, closest, contenders, undecided


def test_a_drop_counts_as_high_as_it_may_be():
    goal = Goal(0.01, "latency")
    assert goal.misses(record(drop=0.006, error=0.004)) == {}
    assert goal.misses(record(drop=0.006, error=0.005)) == {"drop": pytest.approx(0.001)}
    assert "drop" in goal.misses(record(drop=math.nan))


def test_what_may_be_over_a_budget_is_over_it():
    goal = Goal(0.01, "size", latency_ms=1.0, size_mb=2.0)
    assert goal.measured == ("latency_ms",)
    near = {"latency_ms": 0.98, "latency_ms_error": 0.03, "bytes": 2_000_000}
    assert list(goal.misses(record(**near))) == ["latency"]
    assert goal.misses(record(**{**near, "latency_ms_error": 0.01})) == {}
    assert list(goal.misses(record(bytes=2_000_001))) == ["size"]


def test_those_that_may_be_the_best_are_compared_and_no_others():
    found = [timed("a", 2.0, 0.01), timed("b", 1.05, 0.04), timed("c", 1.0, 0.02)]
    found += [timed("d", 0.5, 0.01, status=DROPS), timed("e", 1.2, 0.04)]
    goal = Goal(0.01, "latency")
    assert contenders(found, goal, 6) == [2, 1]
    assert contenders(found, goal, 1) == [2]
    assert contenders(found[3:4], goal, 6) == []


def test_what_may_have_been_turned_down_wrongly_is_told_the_least_drop_first():
    def turned_down(name, drop, cost, **more):
        found = timed(name, cost, 0.01, status=DROPS, **more)
        return {**found, "drop": drop, "drop_error": 0.006, "drop_high": drop + 0.012}

    found = [
        timed("chosen", 1.0, 0.01),
        turned_down("lossy", 0.008, 0.2),
        turned_down("near", 0.005, 0.5),
        turned_down("as near", 0.006, 0.49),
        turned_down("a little more", 0.021, 0.15),
        turned_down("too much", 0.023, 0.1),
        turned_down("no faster", 0.001, 0.985),
        {
            **turned_down("by its last", 0.004, 9.0),
            "likely": {"last": ["x", {}], "latency_ms": 0.7},
        },
        turned_down("too large", 0.001, 0.1, bytes=3_000_000),
        {**turned_down("not measured", 0.001, 0.1), "latency_ms": None},
    ]
    goal = Goal(0.01, "latency", size_mb=2.0)
    told = undecided(found, goal, 0)
    assert [(one["trial"], round(one["share"], 2)) for one in told] == [
        (7, 0.7),
        (2, 0.5),
        (1, 0.2),
        (4, 0.15),
    ]
    assert told[0]["stages"][-1] == ["x", {}]
    assert len(told[0]["stages"]) == 2
    assert undecided(found[:1], goal, 0) == []


def test_the_closest_misses_least_by_its_worst_side():
    goal = Goal(0.01, "size", size_mb=1.0)
    found = [
        record("a", 0.03, status=DROPS, bytes=500_000),  # three times the drop: off by 2
        record("b", 0.0, status=OVER, bytes=1_500_000),  # off by 0.5
        record("c", 0.0, status="unlike", bytes=1),
        {**record("d", status="refused"), "drop": None},
    ]
    assert closest(found, goal) == 1
    assert closest(found[2:], goal) is None
