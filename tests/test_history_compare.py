"""What changed between two runs: which pairs there are, what they say, and how seldom by chance."""

from __future__ import annotations

import math
import random
from pathlib import Path

import history_generated as generated
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.history import compare, machine, samples, side
from reports.history.compare import BETTER, SAME, UNCLEAR, WORSE, Comparison
from reports.history.index import Index, Row
from reports.history.store import History

CELL = "resnet18-{}-cpu"


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History.open(tmp_path / "history", create=True)


def compared(history: History, one: str, other: str) -> Comparison:
    index = Index(history)
    return compare.compare(side.of_run(index, one), side.of_run(index, other))


def words(found: Comparison, gate: str, batch: int | None = None) -> dict[str, str]:
    return {
        one.row.technique: one.word
        for one in found.changes
        if (one.row.gate, one.row.batch) == (gate, batch)
    }


def two(history: History, **changes: object) -> Comparison:
    """Two runs, the second with changes to its own record."""
    return compared(
        history,
        generated.add(history, 1, ratios={"onnxruntime": 4.0}),
        generated.add(history, 2, ratios={"onnxruntime": 4.0}, **changes),  # type: ignore[arg-type]
    )


def test_slower_faster_and_equal_cells_are_told_apart(history):
    old = generated.add(history, 1, ratios={"slow": 4.0, "fast": 4.0, "same": 4.0})
    new = generated.add(history, 2, ratios={"slow": 3.6, "fast": 4.4, "same": 4.02})
    found = compared(history, old, new)
    assert words(found, "speed", 1) == {"slow": WORSE, "fast": BETTER, "same": SAME}
    (slow,) = [one for one in found.of(WORSE) if one.row.batch == 1]
    assert slow.low < 0.9 < slow.high < 1
    assert not found.good


def test_noise_wider_than_the_change_is_told_as_that(history):
    aa = [{"model": "m", "target": "cpu", "sd": 0.04, "processes": 12}]
    old = generated.add(history, 1, ratios={"t": 4.0}, aa=aa)
    new = generated.add(history, 2, ratios={"t": 3.8}, aa=aa)
    assert words(compared(history, old, new), "speed", 1) == {"t": UNCLEAR}


def test_equal_runs_alarm_less_often_than_is_stated():
    """OPT-33: identical code on both sides, from two processes, with noise from day to day."""
    rng = random.Random(0)
    alarms = 0
    trials = 4000
    for _ in range(trials):
        sides = []
        for _ in range(2):
            day = rng.gauss(0, 0.005)
            sides.append([day + rng.gauss(0, 0.005) for _ in range(2)])
        rows = [row(math.exp(np.mean(logs)), logs) for logs in sides]
        alarms += compare.ratio(*rows, (0.005, 0.005)).word == WORSE
    assert alarms <= trials / 1000


def row(value: float, logs: list[float]) -> Row:
    names = ("r", "m", "t", "cpu", "speed", 1)
    return Row(*names, "PASS", value, None, None, logs, None, None, None)


def test_another_machine_class_compares_nothing_and_lists_the_fields(history):
    there = {**generated.header(0)["machine"], "threads": 8, "flags": ["avx2", "amx_int8"]}
    found = two(history, machine=there)
    assert found.machine == [
        "flags: without avx512f avx512_vnni avx512_bf16, with amx_int8",
        "threads: 1, then 8",
    ]
    assert (found.changes, found.good) == ([], False)


def test_a_gpu_and_its_partition_are_of_the_class_and_its_driver_is_software():
    base = generated.header(0)["machine"]
    gpu = {"device": "A100 MIG 1g.5gb", "multiprocessors": 14, "cudnn": 90100}
    one, two, three = (
        {"machine": {**base, "gpu": {**gpu, **changed}}}
        for changed in ({}, {"multiprocessors": 28}, {"cudnn": 90200})
    )
    assert machine.class_of(one) != machine.class_of(two)
    assert machine.class_of(one) == machine.class_of(three)
    assert machine.differing(machine.software(one), machine.software(three)) == [
        "cudnn: 90100, then 90200"
    ]


def test_a_library_upgrade_is_the_same_class_and_is_listed(history):
    versions = {**generated.header(0)["versions"], "onnxruntime": "1.33.0"}
    found = two(history, versions=versions)
    assert found.software == ["onnxruntime: 1.32.0, then 1.33.0"]
    assert found.good


def test_other_baseline_weights_pair_nothing(history):
    models = {"resnet18": {"sha256": "f" * 64}}
    found = two(history, models=models)
    assert found.changes == []
    assert found.unpaired["resnet18"].startswith("baseline model changed: weights ")
    assert found.unpaired["resnet18"].endswith(", then ffffffffffff")
    assert not found.good


def test_missing_new_renamed_and_failed_cells_are_listed(history):
    artifacts = {CELL.format("old_name"): {"sha256": "a" * 64, "key": "k"}}
    again = {CELL.format("other"): {"sha256": "a" * 64, "key": "k"}}
    old = generated.add(
        history, 1, ratios={"old_name": 4.0, "gone": 2.0, "kept": 3.0}, artifacts=artifacts
    )
    new = generated.add(history, 2, ratios={"other": 4.0, "kept": 3.0}, artifacts=again)
    found = compared(history, old, new)
    assert sorted(found.missing) == [CELL.format("gone"), CELL.format("old_name")]
    assert found.added == [CELL.format("other")]
    assert found.renamed == [(CELL.format("old_name"), CELL.format("other"))]
    assert not found.good


def test_nothing_in_common_is_a_failure(history):
    old = generated.add(history, 1, ratios={"one": 4.0})
    new = generated.add(history, 2, ratios={"another_one": 4.0})
    found = compared(history, old, new)
    assert found.changes == []
    assert not found.good


def test_accuracy_is_paired_by_sample(history):
    old = generated.add(history, 1, ratios={"t": 4.0})
    new = generated.add(history, 2, ratios={"t": 4.0}, lost=12)
    found = compared(history, old, new)
    assert words(found, "accuracy") == {"t": WORSE}
    (drop,) = [one for one in found.changes if one.row.gate == "accuracy"]
    assert drop.change == pytest.approx(12 / 2000)
    assert drop.low > 0
    assert "12 samples lost, 0 gained, of 2000" in drop.text
    assert words(compared(history, new, old), "accuracy") == {"t": BETTER}


def test_samples_of_other_data_do_not_pair():
    def scores(base: np.ndarray) -> samples.Scores:
        return samples.Scores(base, base, None)

    rng = np.random.default_rng(0)
    one, other = ((rng.random(500) < 0.9).astype("float32") for _ in range(2))
    assert samples.unpaired(scores(one), scores(one)) is None
    assert "they are other samples" in str(samples.unpaired(scores(one), scores(other)))
    assert "500 samples, then 400" in str(samples.unpaired(scores(one), scores(one[:400])))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(120, 4000))
def test_mcnemar_s_p_and_interval_are_those_of_the_binomial_test(lost, gained, n):
    old, new = np.ones(n), np.ones(n)
    new[:lost] = 0
    old[lost : lost + gained] = 0
    found = samples.pair(old, new)
    assert (found.lost, found.gained, found.n) == (lost, gained, n)
    assert found.drop == pytest.approx((lost - gained) / n)
    if lost + gained == 0:
        assert (found.low, found.high, found.p) == (0, 0, 1)
        return
    test = stats.binomtest(lost, lost + gained, alternative="greater")
    share = stats.binomtest(lost, lost + gained).proportion_ci(0.95)
    assert found.p == pytest.approx(test.pvalue, rel=1e-6)
    scale = (lost + gained) / n
    assert found.low == pytest.approx((2 * share.low - 1) * scale, abs=1e-9)
    assert found.high == pytest.approx((2 * share.high - 1) * scale, abs=1e-9)
    assert found.low - 1e-12 <= found.drop <= found.high + 1e-12


def test_samples_that_share_a_source_weigh_less():
    """Forty crops of a photo that went wrong together are one loss, not forty."""
    old, new = np.ones(2000), np.ones(2000)
    new[:40] = 0
    alone, grouped = samples.pair(old, new), samples.pair(old, new, np.arange(2000) // 40)
    assert alone.p < 1e-9
    assert grouped.p > 0.1
    assert grouped.drop == pytest.approx(alone.drop)


def test_scores_that_all_fall_alike_are_a_loss_whatever_their_spread():
    old = np.linspace(0.2, 0.9, 50)
    found = samples.pair(old, old - 0.01)
    assert found.drop == pytest.approx(0.01)
    assert found.p < 1e-6


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=2), st.integers(0, 5))
def test_a_ratio_turned_round_turns_its_word_round(values, seed):
    rng = random.Random(seed)
    rows = [
        row(value, [math.log(value) + rng.gauss(0, 0.003) for _ in range(3)]) for value in values
    ]
    there, back = (compare.ratio(*pair, (0.004, 0.004)) for pair in (rows, rows[::-1]))
    opposite = {WORSE: BETTER, BETTER: WORSE, SAME: SAME, UNCLEAR: UNCLEAR}
    near = abs(abs(math.log(there.change)) + math.log(0.97)) < 1e-6
    assert near or back.word == opposite[there.word]
