"""Three clocks are read at one moment, or what reads them would tell of jumps that none made."""

from __future__ import annotations

import itertools

from gauge import monitors


def test_readings_that_something_came_between_are_taken_again():
    interrupted = (1.0, 1.009, 1.009, 1.009)
    later = (2.0, 2.0, 2.0, 2.000001)
    found = monitors.clocks(iter([interrupted, interrupted, later]).__next__)
    assert found == {"counted": 2.0, "raw": 2.0, "boot": 2.0}


def test_where_all_are_interrupted_the_tightest_counts():
    spans = itertools.chain([0.009, 0.004], itertools.repeat(0.02))
    moments = itertools.count()

    def read():
        start = float(next(moments))
        return start, start, start, start + next(spans)

    assert monitors.clocks(read)["counted"] == 1.0


def test_a_stretch_without_a_jump_is_told_nothing_of():
    _, problem = monitors.watch()()
    assert problem is None


def test_a_jump_is_told_with_both_clocks():
    told = monitors.clock_problem(0.44, 0.449, 0.44)
    assert told == "the clock jumped: 0.440 s by the one used, 0.449 s by the unsteered clock"
