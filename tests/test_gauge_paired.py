"""Accuracy: Tango's interval against published figures, sizes and power by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, sem, t

from gauge import bootstrap
from gauge.margins import Counts, decide, may_fail, may_pass
from gauge.paired import compare
from gauge.tango import (
    at_least,
    at_most,
    mcnemar,
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


def both(b, c, n, margin):
    return may_pass(Counts(b, c, n), margin), may_fail(Counts(b, c, n), margin)


def test_guards_hold_only_while_few_samples_differ():
    assert both(0, 0, 298, 0.01) == (False, False)
    assert both(0, 0, 299, 0.01) == (True, False)
    assert both(19, 0, 100, 0.01) == (False, True)
    assert both(20, 0, 100, 0.01) == (True, True)
    assert both(3, 2, 100, 0.01) == (False, False)


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_nan_decides_nothing(bound):
    assert decide(-bound, bound, 0.01, (True, True)) is Status.INCONCLUSIVE
    assert decide(0.0, 0.001, math.nan, (True, True)) is Status.INCONCLUSIVE


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
    alone = compare(old, clumped, 0.035)
    even = compare(old, spread, 0.035, groups)
    uneven = compare(old, clumped, 0.035, groups)
    assert alone.status is even.status is Status.PASS
    assert uneven.status is Status.INCONCLUSIVE
    assert uneven.high > even.high > alone.high
    assert uneven.smallest_drop > 3 * alone.smallest_drop
    assert (uneven.groups, alone.groups) == (100, None)
    assert alone.design == 1.0
    assert even.design == pytest.approx(1 + 19 * 0.1)
    # All variance is between the groups: a group weighs as much as a sample.
    assert uneven.design == pytest.approx(20, rel=0.02)
    assert uneven.method == "Tango 1998, design effect 20.2"


def test_groups_never_make_a_decision_easier():
    groups = (np.arange(2000) // 20).tolist()
    for b in (0, 10, 25, 60):
        old, new = binary(2000, b, 0)
        order = np.random.default_rng(b).permutation(2000)
        alone = compare(old[order], new[order], 0.01)
        grouped = compare(old[order], new[order], 0.01, groups)
        assert (grouped.low <= alone.low, grouped.high >= alone.high) == (True, True)


def test_a_handful_of_groups_decides_nothing():
    old, new = binary(4000, 0, 0)
    for count in (1, 7):
        found = compare(old, new, 0.5, (np.arange(4000) % count).tolist())
        assert found.status is Status.INCONCLUSIVE
        assert found.reason == f"{count} groups of samples, and at least 8 decide"
    assert compare(old, new, 0.1, (np.arange(4000) % 8).tolist()).status is Status.PASS


def test_photos_that_lost_nothing_are_no_proof_of_one_point():
    # 13 photos: a technique that ruins one photo in fifty would often be seen to lose nothing.
    old, new = binary(1040, 0, 0)
    photos = np.repeat(np.arange(13), 80).tolist()
    found = compare(old, new, 0.01, photos)
    assert found.status is Status.INCONCLUSIVE
    assert found.reason.endswith(
        "these samples can decide 2.65 points, the limit needs 2799 samples in 35 groups"
    )
    assert compare(old, new, found.smallest_drop + 1e-6, photos).status is Status.PASS
    assert compare(old, new, found.smallest_drop - 1e-6, photos).status is Status.INCONCLUSIVE


def test_groups_of_one_are_samples_that_stand_alone():
    old, new = binary(2000, 5, 3)
    alone, grouped = compare(old, new, 0.01), compare(old, new, 0.01, list(range(2000)))
    assert grouped.status is alone.status is Status.PASS
    assert grouped.high == pytest.approx(alone.high, rel=1e-3)
    assert grouped.design == pytest.approx(1.0, rel=1e-3)


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
    assert first.design == 1.0
    assert compare(old, new, 0.005).status is Status.FAIL
    assert compare(old, new, 0.005, seed=1).high != first.high


def test_scores_without_any_difference_are_no_proof_when_few():
    same = np.linspace(0, 1, 200)
    found = compare(same, same, 0.01)
    assert (found.drop, found.low, found.high) == (0, 0, 0)
    assert found.status is Status.INCONCLUSIVE
    assert compare(np.tile(same, 2), np.tile(same, 2), 0.01).status is Status.PASS
    # A score that reaches from 0 to 100 can fall a hundred times as far in one sample.
    assert compare(np.tile(same, 2) * 100, np.tile(same, 2) * 100, 0.01).status is not Status.PASS


@pytest.mark.parametrize("count", [9, 40, 400])
def test_bootstrap_bounds_are_never_narrower_than_t(count):
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.05, 0.05, count)
        bounds = bootstrap.drop_bounds(differences, None, 0, 1.0)
        error, mean = sem(differences), differences.mean()
        assert bounds.error == pytest.approx(error)
        assert bounds.low <= mean - t.ppf(0.995, count - 1) * error + 1e-12
        assert bounds.high >= mean + t.ppf(0.95, count - 1) * error - 1e-12
        # Of symmetric differences the two are near each other.
        assert bounds.high <= mean + 1.35 * t.ppf(0.95, count - 1) * error


def test_a_skewed_sample_takes_the_studentised_bound():
    differences = np.zeros(40)
    differences[:2] = 1.0
    bounds = bootstrap.drop_bounds(differences, None, 0, 1.0)
    assert bounds.high > 0.05 + 1.5 * t.ppf(0.95, 39) * sem(differences)
    assert bounds.low == pytest.approx(0.05 - t.ppf(0.995, 39) * sem(differences))


def test_bounds_stay_within_what_a_score_can_do():
    bounds = bootstrap.drop_bounds([1.0, *[0.0] * 8], None, 0, 1.0)
    assert bounds.high == 1.0


def test_groups_count_by_their_samples():
    # One group of 30 that lost nothing, ten of 1 that lost one each.
    differences = np.r_[np.zeros(30), np.ones(10)]
    groups = [0] * 30 + list(range(1, 11))
    bounds = bootstrap.drop_bounds(differences, groups, 0, 1.0)
    residuals = np.r_[0 - 0.25 * 30, np.full(10, 1 - 0.25)]
    assert bounds.error == pytest.approx(math.sqrt(11 / 10 * (residuals**2).sum()) / 40)


def test_a_single_group_bounds_nothing():
    assert bootstrap.drop_bounds([0.5, 0.1], [1, 1], 0, 3.0)[:3] == (-3.0, 3.0, 3.0)


def test_few_scores_that_are_not_right_or_wrong_decide_nothing():
    rng = np.random.default_rng(2)
    old = rng.uniform(0.5, 1, 2900)
    new = old - rng.normal(0, 0.001, 2900)
    groups = (np.arange(2900) % 29).tolist()
    found = compare(old, new, 0.1, groups)
    assert found.status is Status.INCONCLUSIVE
    assert found.reason == "29 groups of samples, and at least 30 decide"
    assert compare(old, new, 0.1, (np.arange(2900) % 30).tolist()).status is Status.PASS
    assert compare(old[:29], new[:29], 0.5).reason == "29 samples, and at least 30 decide"


def test_rounding_in_every_sample_hides_no_rare_loss():
    # 100 cosines that all differ in the last digits: one sample in 100 may still lose everything.
    old = np.random.default_rng(4).uniform(0.9, 1, 100)
    new = old + np.random.default_rng(5).normal(0, 1e-7, 100)
    assert compare(old, new, 0.01).status is Status.INCONCLUSIVE
    assert compare(np.tile(old, 3), np.tile(new, 3), 0.01).status is Status.PASS


def test_a_limit_that_allows_everything_passes_nothing():
    found = compare(*binary(2000, 5, 3), 1.0)
    assert found.status is Status.INCONCLUSIVE
    assert found.reason == "a limit of 100.00 points allows every answer to be wrong: it is none"


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (0, 0, 1.0),
        # Fay, "Exact McNemar's Test and Matching Confidence Intervals" (2010): two-sided .06543.
        (9, 2, 0.06543 / 2),
        # Fagerland, Lydersen, Laake, BMC Medical Research Methodology 13, 2013: .0703 and .0525.
        (7, 1, 0.0703 / 2),
        (16, 6, 0.0525 / 2),
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


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0, 1))
def test_tails_agree_with_scipy(k, n, p):
    assert at_most(k, n, p) == pytest.approx(binom.cdf(k, n, p), rel=1e-6, abs=1e-12)
    assert at_least(k, n, p) == pytest.approx(binom.sf(k - 1, n, p), rel=1e-6, abs=1e-12)


samples = st.integers(1, 120)
"""Below what a limit of one point needs: whatever the scores are, nothing passes."""


@given(samples, st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_too_few_samples_never_pass_whatever_they_score(n, seed, free, grouped):
    rng = np.random.default_rng(seed)
    old = rng.random(n) if free else (rng.random(n) < 0.9).astype(float)
    new = old + rng.normal(0, 1e-6, n) if free else np.minimum(old, rng.random(n) < 0.99)
    groups = rng.integers(0, max(1, n // 3), n).tolist() if grouped else None
    found = compare(old, new, 0.01, groups)
    assert found.status is not Status.PASS
    assert found.low <= found.drop + 1e-9
    assert found.drop - 1e-9 <= found.high
    assert found.reason


odd = st.sampled_from([math.nan, math.inf, -math.inf])


@given(
    st.integers(2, 40).flatmap(
        lambda n: st.tuples(
            st.lists(st.floats(-1e6, 1e6) | odd, min_size=n, max_size=n),
            st.lists(st.floats(-1, 1), min_size=n, max_size=n),
        )
    ),
    st.sampled_from([0.0, 0.01, 1.0, 3.0]),
)
@settings(max_examples=60, deadline=None)
def test_bad_scores_raise_or_say_why_and_never_pass_on_nan(scores, margin):
    old, new = scores
    if not np.isfinite(old).all():
        with pytest.raises(ValueError, match="not finite"):
            compare(old, new, margin)
        return
    found = compare(old, new, margin)
    assert not math.isnan(found.drop)
    assert found.reason or found.status is Status.PASS
    if margin == 0:
        assert found.status is not Status.PASS


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_more_losses_never_turn_a_failure_into_a_pass(seed, b, c):
    rng = np.random.default_rng(seed)
    order = rng.permutation(900)
    groups = (order % 60).tolist()
    worth = {Status.PASS: 0, Status.INCONCLUSIVE: 1, Status.FAIL: 2}
    less = compare(*(one[order] for one in binary(900, b, c)), 0.03)
    more = compare(*(one[order] for one in binary(900, b + 15, c)), 0.03)
    shared = compare(*(one[order] for one in binary(900, b, c)), 0.03, groups)
    assert worth[less.status] <= worth[more.status]
    assert shared.status in (less.status, Status.INCONCLUSIVE)
