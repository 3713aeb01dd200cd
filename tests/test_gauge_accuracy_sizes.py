"""How often the accuracy gate errs: the proof's own functions, in short runs."""

import numpy as np
import proof_accuracy as proof
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauge.paired import compare
from gauge.verdict import Status


def verdict(old, new, margin, groups=None):
    return compare(old, new, margin, groups).status


@given(
    st.integers(0, 60), st.integers(0, 60), st.integers(120, 1500), st.sampled_from([0.01, 0.03])
)
@settings(deadline=None)
def test_the_proof_decides_as_the_gate_does(b, c, n, margin):
    old, new = np.ones(n), np.ones(n)
    new[:b] = 0
    old[b : b + c] = 0
    passes, fails = proof.decided(np.float64(b), np.float64(c), np.float64(n), margin)
    assert (bool(passes), bool(fails)) == {
        Status.PASS: (True, False),
        Status.FAIL: (False, True),
        Status.INCONCLUSIVE: (False, False),
    }[verdict(old, new, margin)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.1, 0.3]))
@settings(deadline=None, max_examples=60)
def test_the_proof_weighs_groups_as_the_gate_does(seed, rate):
    rng = np.random.default_rng(seed)
    groups, size = int(rng.integers(8, 40)), int(rng.integers(2, 30))
    lost = np.minimum(proof.drawn(rng, 1, groups, size, rate, 0.2), size)
    gained = np.minimum(proof.drawn(rng, 1, groups, size, rate / 3, 0.2), size - lost)
    old, new = np.ones((groups, size)), np.ones((groups, size))
    for row, (down, up) in enumerate(zip(lost[0].astype(int), gained[0].astype(int), strict=True)):
        new[row, :down] = 0
        old[row, down : down + up] = 0
    weigh = proof.effects(lost, gained, size)
    n = np.float64(groups * size)
    passes, fails = proof.decided(lost.sum(1), gained.sum(1), n, 0.05, weigh, groups - 1)
    ids = np.repeat(np.arange(groups), size).tolist()
    found = verdict(old.ravel(), new.ravel(), 0.05, ids)
    assert (bool(passes[0]), bool(fails[0])) == (found is Status.PASS, found is Status.FAIL)


def test_sizes_are_as_claimed(monkeypatch):
    monkeypatch.setattr(proof, "SIZES", (200, 299, 500, 1500, 3000))
    found = proof.sizes(1, 200)
    assert found["kept"], found["worst"]
    assert found["worst"]["pass"] > 0.05  # the bound is used up, not merely kept
    simulated = sum(row["passed"] for row in found["rows"]) / sum(
        row["of"] for row in found["rows"]
    )
    computed = sum(row["pass"] for row in found["rows"]) / len(found["rows"])
    assert simulated == pytest.approx(computed, abs=0.004)


def test_power_is_as_computed():
    found = proof.powers(2, 20_000)
    assert found["kept"]
    rows = {(row["drop"], row["share"]): row for row in found["rows"]}
    for share, power in ((0.01, 98), (0.02, 92), (0.03, 81), (0.05, 63)):
        row = rows[0.0, share]
        assert 100 * row["pass"] == pytest.approx(power, abs=0.5)
        assert row["passed"] / row["of"] == pytest.approx(row["pass"], abs=0.012)
    # The formula that tells how many samples a limit needs is good enough where many differ.
    assert rows[0.0, 0.05]["normal_pass"] == pytest.approx(rows[0.0, 0.05]["pass"], abs=0.02)
    assert all(rows[0.02, share]["pass"] < 1e-3 for share in (0.02, 0.03, 0.05))


def test_sizes_hold_for_samples_in_groups():
    found = proof.grouped(3, 600)
    assert found["kept"], found["worst"]


def test_groups_taken_for_independent_samples_would_not_hold():
    rng = np.random.default_rng(4)
    lost = proof.drawn(rng, 600, 13, 80, 0.02, 0.1)
    nothing = np.zeros(600)
    passes, _ = proof.decided(lost.sum(1), nothing, np.float64(1040), 0.02)
    assert passes.mean() > 0.2
    weigh = proof.effects(lost, 0 * lost, 80)
    passes, _ = proof.decided(lost.sum(1), nothing, np.float64(1040), 0.02, weigh, 12)
    assert passes.mean() <= proof.MOST_PASS


def test_sizes_hold_for_scores_that_are_not_right_or_wrong(monkeypatch):
    monkeypatch.setattr(proof, "LAYOUTS_OF_SCORES", ((100, 4),))
    found = proof.scores(5, 60)
    assert found["kept"], found["rows"]
