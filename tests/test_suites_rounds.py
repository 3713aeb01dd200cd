"""Rounds: which processes a cell gets, and in which order they load their arms."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from gauge import steady
from gauge.order import candidate_first
from suites.rounds import BRIEF, GATED, Rounds


class Engine:
    """Answers each timing process with the next log-ratio, and keeps what it was asked."""

    def __init__(self, ratios, cache_mode="warm", trend=0.0):
        self.settings = SimpleNamespace(cache_mode=cache_mode)
        self.ratios = iter(ratios)
        self.asked = []
        self.trend = trend

    def device_of(self, target):
        return target

    def speed_process(self, cell, lengths, number, label, *, control, earlier):
        self.asked.append((number, lengths))
        ratio = next(self.ratios)
        invalid = ratio if isinstance(ratio, str) else None
        value = 0.0 if invalid else ratio
        one = {"log_ratio": value, "blocks": [value - 0.01, value, value + 0.01]}
        one |= {"refused": None, "invalid": invalid, "trend": self.trend}
        return {"seconds": 1.0, "waited_s": 0.0, "batches": {str(batch): one for batch in lengths}}


def timed(ratios, effort="standard", reported=False, trend=0.0):
    engine = Engine(ratios, trend=trend)
    rounds = Rounds(engine, effort)
    cell = SimpleNamespace(id="m-t-cpu", model="m", target="cpu")
    tracks = {1: rounds.track(1, 1.0, reported=False)}
    if reported:
        tracks[32] = rounds.track(32, None, reported=True)
    rounds.add(cell, tracks)
    return rounds.until(cell, 1), engine


@pytest.mark.parametrize("count", [3, 4])
def test_a_fresh_run_begins_with_a_pair_of_its_own(count):
    # So slow, and so alike, that `count` processes decide.
    spread = 1e-7 if count == 3 else 1e-4
    ratios = [-1.0 + spread * (index % 2) for index in range(12)]
    track, engine = timed(ratios)
    assert len(track.runs) == 2
    assert len(track.runs[0]) == count
    numbers = [number for number, _ in engine.asked]
    assert numbers[:count] == list(range(count))
    fresh = numbers[count:]
    assert fresh[0] % 2 == 0
    assert fresh == list(range(fresh[0], fresh[0] + len(fresh)))
    for begin in (0, fresh[0]):
        orders = [candidate_first(0, "m-t-cpu", begin + index) for index in range(2)]
        assert sum(orders) == 1


def test_a_process_that_does_not_count_is_measured_once_more_under_its_number():
    track, engine = timed([1.0, "the clock jumped", 1.0])
    assert [number for number, _ in engine.asked] == [0, 1, 1]
    assert track.invalid is None
    assert len(track.runs[0]) == 2


def test_what_spoils_the_repetition_too_or_another_process_is_told():
    for ratios in (["remembered", "remembered"], ["jumped", 1.0, "jumped"]):
        track, _ = timed(ratios)
        assert track.invalid == ratios[-1]


def test_single_calls_are_timed_where_the_batch_is_gated():
    _, engine = timed([1.0, 1.0 + 1e-4], reported=True)
    assert engine.asked[0][1][1].single_seconds > 0
    assert engine.asked[0][1][32].single_seconds == 0


def test_no_single_calls_for_the_controls():
    engine = Engine([0.0] * 12)
    rounds = Rounds(engine, "quick")
    cell = SimpleNamespace(id="m-t-cpu", model="m", target="cpu")
    rounds.add(cell, {})
    rounds.add_controls()
    rounds.finish_controls()
    assert len(engine.asked) == 4
    assert all(lengths[1].single_seconds == 0 for _, lengths in engine.asked)


def test_cold_caches_are_timed_for_longer():
    lengths = []
    for mode in ("warm", "cold"):
        engine = Engine([0.0] * 12, mode)
        rounds = Rounds(engine, "quick")
        rounds.add(SimpleNamespace(id="m-t-cpu", model="m", target="cpu"), {})
        rounds.add_controls()
        rounds.finish_controls()
        lengths.append(engine.asked[0][1][1].seconds)
    assert lengths[1] > 2 * lengths[0]


def lengths_of(ratios, effort="standard", trend=0.0):
    track, engine = timed(ratios, effort, trend=trend)
    return track, [lengths[1] for _, lengths in engine.asked]


def test_processes_of_a_cell_far_below_its_limit_are_brief_in_both_runs():
    ratios = [-0.5 + 0.01 * (index % 3) for index in range(24)]
    track, lengths = lengths_of(ratios)
    assert [len(run) for run in track.runs] == [6, 6]
    assert lengths[0] == GATED
    assert all(one == BRIEF for one in lengths[1:])


def test_every_block_must_be_far_and_a_second_look_is_taken_where_one_is_not():
    near = math.log(1 / 1.25)
    _, lengths = lengths_of([-0.5, near, *[-0.5 + 0.01 * (index % 3) for index in range(30)]])
    assert lengths[:2] == [GATED, BRIEF]
    assert all(one == GATED for one in lengths[2:])


def test_a_ratio_that_moves_is_seen_for_its_full_length():
    _, lengths = lengths_of([-0.5 + 0.01 * (index % 3) for index in range(24)], trend=-0.2)
    assert all(one == GATED for one in lengths)


@pytest.mark.parametrize("ratio", [0.7, 0.05, -0.05])
def test_near_the_limit_and_above_it_processes_keep_their_length(ratio):
    _, lengths = lengths_of([ratio + 0.05 * (index % 2) for index in range(12)], "quick")
    assert len(lengths) > 1
    assert all(one == GATED for one in lengths)


def test_a_brief_process_has_blocks_enough_for_the_steady_state_check():
    assert BRIEF.least_blocks >= steady.LEAST_BLOCKS
    assert BRIEF.seconds < GATED.seconds
    assert BRIEF.segment < GATED.segment
