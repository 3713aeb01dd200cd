"""Accuracy: Tango's interval against published figures, sizes and power by simulation."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, sem, t

from gauge import bootstrap
from gauge.paired import (
    FAIL_LEVEL,
    PASS_LEVEL,
    at_most,
    compare,
    decide,
    guards,
    mcnemar,
    needed,
    resolvable,
    tango_bound,
    tango_interval,
    tango_statistic,
)
from gauge.verdict import Status


@pytest.mark.parametrize(
    ("b", "c", "n", "confidence", "low", "high", "digits"),
    [
        # Airway hyper-responsiveness before and after a transplant: M. Fagerland, S. Lydersen,
        # P. Laake, BMC Medical Research Methodology 14, 2014, table 6.
        (1, 7, 21, 0.95, -0.517, -0.026, 3),
        # Complete response before and after consolidation: the same authors' book, chapter 8.
        (6, 16, 161, 0.95, -0.1240, -0.0054, 4),
        # Lens disinfection, the example of Tango's paper.
        (0, 1, 44, 0.90, -0.096, 0.037, 3),
        # A reference value computed with R's PropCIs, scoreci.mp(25, 28, 618).
        (28, 25, 618, 0.90, -0.0148, 0.0247, 4),
    ],
)
def test_the_interval_is_the_published_one(b, c, n, confidence, low, high, digits):
    found = tango_interval(b, c, n, confidence)
    assert [round(bound, digits) for bound in found] == [low, high]


def test_the_statistic_is_the_published_one():
    assert round(tango_statistic(0, 1, 44, -0.1), 3) == 1.709


counts = st.integers(1, 400).flatmap(
    lambda n: st.integers(0, n).flatmap(
        lambda b: st.tuples(st.just(b), st.integers(0, n - b), st.just(n))
    )
)


@given(counts, st.floats(0.6, 0.999))
def test_bounds_hold_the_drop_mirror_and_solve_the_equation(bcn, level):
    b, c, n = bcn
    low, high = (tango_bound(b, c, n, level, upper=upper) for upper in (False, True))
    assert -1 <= low <= (b - c) / n + 1e-12
    assert (b - c) / n - 1e-12 <= high <= 1
    assert tango_bound(c, b, n, level, upper=True) == pytest.approx(-low, abs=1e-9)
    if high < 0.999:
        before = tango_statistic(b, c, n, high - 1e-7)
        assert before >= tango_statistic(b, c, n, high + 1e-7)


@pytest.mark.parametrize("bcn", [(0, 0, 0), (3, 3, 5), (-1, 0, 5)])
def test_counts_that_are_none_are_refused(bcn):
    with pytest.raises(ValueError, match="no counts of pairs"):
        tango_bound(*bcn, level=0.95, upper=True)


@pytest.mark.parametrize(
    ("k", "n", "p", "expected"),
    [
        (0, 2, 0.5, 0.25),
        (1, 2, 0.5, 0.75),
        (2, 2, 0.5, 1.0),
        (-1, 2, 0.5, 0.0),
        (0, 5, 0.0, 1.0),
        (0, 5, 1.0, 0.0),
        (5, 5, 1.0, 1.0),
        (0, 299, 0.01, 0.04953625663),
        (3, 2000, 0.005, binom.cdf(3, 2000, 0.005)),
        (19, 10_000_000, 1e-6, binom.cdf(19, 10_000_000, 1e-6)),
    ],
)
def test_binomial_tails_are_exact(k, n, p, expected):
    assert at_most(k, n, p) == pytest.approx(expected, rel=1e-5)


def test_guards_hold_only_while_few_samples_differ():
    assert guards(0, 0, 298, 0.01) == (False, False)
    assert guards(0, 0, 299, 0.01) == (True, False)
    assert guards(19, 0, 100, 0.01) == (False, True)
    assert guards(20, 0, 100, 0.01) == (True, True)
    assert guards(3, 2, 100, 0.01) == (False, False)


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_nan_decides_nothing(bound):
    assert decide(-bound, bound, 0.01, (True, True)) is Status.INCONCLUSIVE
    assert decide(0.0, 0.001, math.nan, (True, True)) is Status.INCONCLUSIVE


@cache
def _status(b, c, n, margin):
    low = tango_bound(b, c, n, FAIL_LEVEL, upper=False)
    high = tango_bound(b, c, n, PASS_LEVEL, upper=True)
    return decide(low, high, margin, guards(b, c, n, margin))


def shares(n, margin, rho, drop, runs=20_000):
    """How often a true drop, with a share rho of samples differing, PASSes and FAILs."""
    rng = np.random.default_rng(20251125)
    lost, gained = (rho + drop) / 2, (rho - drop) / 2
    pairs = rng.multinomial(n, [lost, gained, 1 - rho], size=runs)[:, :2]
    unique, times = np.unique(pairs, axis=0, return_counts=True)
    found = {Status.PASS: 0, Status.FAIL: 0, Status.INCONCLUSIVE: 0}
    for (b, c), count in zip(unique.tolist(), times.tolist(), strict=True):
        found[_status(b, c, n, margin)] += count
    return found[Status.PASS] / runs, found[Status.FAIL] / runs


@pytest.mark.parametrize("n", [500, 2000])
@pytest.mark.parametrize("rho", [0.01, 0.02, 0.05])
def test_a_drop_at_the_margin_passes_and_fails_as_rarely_as_stated(n, rho):
    passed, failed = shares(n, 0.01, rho, 0.01)
    # 5.4 and 1.1 % are the design's figures; three standard errors of 20,000 runs on top.
    assert passed <= 0.054 + 0.005
    assert failed <= 0.011 + 0.003


@pytest.mark.parametrize(("rho", "power"), [(0.01, 99), (0.02, 92), (0.03, 81), (0.05, 63)])
def test_power_without_a_drop_is_the_stated_one(rho, power):
    passed, failed = shares(2000, 0.01, rho, 0.0)
    assert 100 * passed == pytest.approx(power, abs=1.5)
    assert failed < 0.001


def test_a_true_drop_of_three_points_fails():
    assert shares(2000, 0.01, 0.05, 0.03)[1] > 0.93


def test_the_samples_a_limit_needs():
    assert needed(0.01, 0.0) == 299
    assert needed(0.01, 0.03) == 2580
    assert needed(0.0, 0.03) == math.inf
    assert needed(1.0, 0.5) == 1
    assert resolvable(2000, 0.03) == pytest.approx(0.01136, abs=1e-5)
    assert resolvable(299, 0.0) <= 0.01 < resolvable(298, 0.0)
    assert resolvable(0, 0.0) == 1.0


def binary(n, b, c):
    """Scores of n samples: b that only the baseline, c that only the candidate has right."""
    old, new = np.ones(n), np.ones(n)
    new[:b] = 0
    old[b : b + c] = 0
    return old, new


def test_few_lost_samples_pass_and_are_counted():
    found = compare(*binary(2000, 5, 3), 0.01)
    assert found.status is Status.PASS
    assert (found.b, found.c, found.n, found.groups, found.reason) == (5, 3, 2000, None, None)
    assert found.drop == pytest.approx(0.001)
    assert found.high == tango_bound(5, 3, 2000, 0.95, upper=True)
    assert found.low == tango_bound(5, 3, 2000, 0.995, upper=False)
    assert found.method == "Tango 1998"


def test_many_lost_samples_fail_with_the_counts():
    found = compare(*binary(2000, 80, 10), 0.01)
    assert found.status is Status.FAIL
    assert found.reason.startswith("drop of 3.50 points (")
    assert "80 samples lost, 10 gained, of 2000" in found.reason


def test_too_few_samples_are_inconclusive_and_say_how_many_it_takes():
    found = compare(*binary(250, 0, 0), 0.01)
    assert found.status is Status.INCONCLUSIVE
    assert "needs 299 samples" in found.reason
    assert compare(*binary(250, 0, 0), 0.013).status is Status.PASS


def test_a_drop_at_the_limit_is_inconclusive():
    found = compare(*binary(2000, 40, 20), 0.01)
    assert found.status is Status.INCONCLUSIVE
    assert compare(*binary(20_000, 400, 190), 0.01).reason.endswith(
        "too close to the limit to tell"
    )


def test_without_a_margin_it_only_measures():
    found = compare(*binary(2000, 80, 10), None)
    assert (found.status, found.reason) == (Status.NO_EXPECTATION, None)
    assert found.drop == pytest.approx(0.035)


def test_a_margin_of_zero_never_passes_what_does_not_differ():
    assert compare(*binary(2000, 0, 0), 0.0).status is Status.INCONCLUSIVE
    assert compare(*binary(2000, 80, 10), 0.0).status is Status.FAIL


@pytest.mark.parametrize(
    ("old", "new", "groups", "message"),
    [
        ([], [], None, "do not pair"),
        ([1.0], [1.0, 0.0], None, "do not pair"),
        ([[1.0]], [[1.0]], None, "do not pair"),
        ([1.0, 1.0], [1.0, math.nan], None, "not finite"),
        ([math.inf, 1.0], [1.0, 1.0], None, "not finite"),
        ([1.0, 1.0], [1.0, 1.0], [0], "1 group ids for 2 samples"),
    ],
)
def test_scores_that_do_not_pair_are_refused(old, new, groups, message):
    with pytest.raises(ValueError, match=message):
        compare(old, new, 0.01, groups)


def test_groups_widen_the_bounds():
    # The same 40 lost samples: spread over the photos, or all of two photos.
    old = np.ones(2000)
    spread, clumped = old.copy(), old.copy()
    spread[::50] = 0
    clumped[:40] = 0
    groups = (np.arange(2000) // 20).tolist()
    alone = compare(old, clumped, 0.03)
    even = compare(old, spread, 0.03, groups)
    uneven = compare(old, clumped, 0.03, groups)
    assert alone.status is even.status is Status.PASS
    assert uneven.status is Status.INCONCLUSIVE
    assert uneven.high > alone.high
    assert uneven.smallest_drop > 3 * alone.smallest_drop
    assert uneven.groups == 100
    assert uneven.method == "bootstrap over groups, at least Tango 1998"


def test_groups_never_make_a_decision_easier():
    groups = (np.arange(2000) // 20).tolist()
    for b in (0, 10, 25, 60):
        old, new = binary(2000, b, 0)
        order = np.random.default_rng(b).permutation(2000)
        alone = compare(old[order], new[order], 0.01)
        grouped = compare(old[order], new[order], 0.01, groups)
        assert (grouped.low <= alone.low, grouped.high >= alone.high) == (True, True)


def test_a_handful_of_groups_decides_nothing():
    old, new = binary(2000, 0, 0)
    for count in (1, 7):
        found = compare(old, new, 0.01, (np.arange(2000) % count).tolist())
        assert found.status is Status.INCONCLUSIVE
        assert found.reason == f"{count} groups of samples, and at least 8 decide"
    assert compare(old, new, 0.01, (np.arange(2000) % 8).tolist()).status is Status.PASS


def test_group_ids_may_be_names():
    old, new = binary(400, 2, 0)
    names = [f"photo {index % 20}" for index in range(400)]
    assert compare(old, new, 0.05, names).groups == 20


def test_scores_between_0_and_1_are_bootstrapped_the_same_way_each_time():
    rng = np.random.default_rng(1)
    old = rng.random(500)
    new = old - 0.01 + rng.normal(0, 0.02, 500)
    first, second = compare(old, new, 0.02), compare(old, new, 0.02)
    assert first == second
    assert first.status is Status.PASS
    assert first.method == "bootstrap over samples"
    assert first.low < 0.01 < first.high < 0.013
    assert compare(old, new, 0.005).status is Status.FAIL
    assert compare(old, new, 0.005, seed=1).low != first.low


def test_scores_without_any_difference_are_no_proof_when_few():
    same = np.linspace(0, 1, 200)
    found = compare(same, same, 0.01)
    assert (found.drop, found.low, found.high) == (0, 0, 0)
    assert found.status is Status.INCONCLUSIVE
    assert compare(np.tile(same, 2), np.tile(same, 2), 0.01).status is Status.PASS
    # A score that reaches from 0 to 100 can fall a hundred times as far in one sample.
    assert compare(np.tile(same, 2) * 100, np.tile(same, 2) * 100, 0.01).status is not Status.PASS


@pytest.mark.parametrize("count", [2, 9, 40])
def test_bootstrap_bounds_are_never_narrower_than_t(count):
    # Half the differences up, half down: a light-tailed case, where the t bound is the wider one.
    differences = np.where(np.arange(count) % 2, 0.11, 0.01)
    bounds = bootstrap.drop_bounds(differences, None, 0, 1.0)
    error, mean = sem(differences), differences.mean()
    assert bounds.error == pytest.approx(error)
    assert bounds.low == pytest.approx(mean - t.ppf(0.995, count - 1) * error)
    assert bounds.high == pytest.approx(mean + t.ppf(0.95, count - 1) * error, rel=0.02)
    assert bounds.high >= mean + t.ppf(0.95, count - 1) * error - 1e-12


def test_a_skewed_sample_takes_the_percentile_bound():
    differences = np.zeros(40)
    differences[:2] = 1.0
    bounds = bootstrap.drop_bounds(differences, None, 0, 1.0)
    assert bounds.high >= 0.125 > 0.05 + t.ppf(0.95, 39) * sem(differences)


def test_groups_count_by_their_samples():
    # One group of 30 that lost nothing, ten of 1 that lost one each.
    differences = np.r_[np.zeros(30), np.ones(10)]
    groups = [0] * 30 + list(range(1, 11))
    bounds = bootstrap.drop_bounds(differences, groups, 0, 1.0)
    residuals = np.r_[0 - 0.25 * 30, np.full(10, 1 - 0.25)]
    assert bounds.error == pytest.approx(math.sqrt(11 / 10 * (residuals**2).sum()) / 40)


def test_a_single_group_bounds_nothing():
    assert bootstrap.drop_bounds([0.5, 0.1], [1, 1], 0, 3.0)[:3] == (-3.0, 3.0, 3.0)


def test_the_wider_of_two_bounds_keeps_its_size_with_thirty_groups():
    rng = np.random.default_rng(3)
    runs, groups, per, margin = 300, 30, 20, 0.02
    rate = rng.gamma(4, 1 / 4, size=(runs, groups))
    lost = rng.binomial(per, np.minimum(1, 0.06 * rate))
    gained = rng.binomial(per, np.minimum(1, 0.04 * rate))
    ids = np.repeat(np.arange(groups), per)
    passed = failed = 0
    for minus, plus in zip(lost, gained, strict=True):
        differences = np.zeros((groups, per))
        for row, (down, up) in enumerate(zip(minus, plus, strict=True)):
            differences[row, :down] += 1
            differences[row, per - up :] -= 1
        bounds = bootstrap.drop_bounds(differences.ravel(), ids, 0, 1.0)
        passed += bounds.high < margin
        failed += bounds.low > margin
    assert passed / runs <= 0.09
    assert failed / runs <= 0.017


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (0, 0, 1.0),
        # Fay, "Exact McNemar's Test and Matching Confidence Intervals" (2010): two-sided .06543.
        (9, 2, 0.06543 / 2),
        (5, 0, 2**-5),
        (0, 5, 1.0),
    ],
)
def test_mcnemar_is_the_exact_one_sided_p(b, c, p):
    assert mcnemar(b, c) == pytest.approx(p, rel=1e-3)


@given(b=st.integers(0, 400), c=st.integers(0, 400))
def test_mcnemar_agrees_with_scipy(b, c):
    expected = binomtest(b, b + c, 0.5, "greater").pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-6, abs=1e-12)
