"""What samples can decide: held against the verdicts of drawn counts, not against the formula."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauge import resolution
from gauge.paired import compare
from gauge.resolution import needed, power, resolvable
from gauge.verdict import Status

RUNS = 1000


def scores(n, lost, gained):
    old, new = np.ones(n), np.ones(n)
    new[:lost] = 0
    old[lost : lost + gained] = 0
    return old, new


def passing(n, rho, margin):
    """The share of drawn candidates without a true drop that pass."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, [rho / 2, rho / 2, 1 - rho], size=RUNS)
    kinds, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    verdicts = [compare(*scores(n, *kind), margin).status is Status.PASS for kind in kinds]
    return float(np.dot(verdicts, times)) / RUNS


@pytest.mark.parametrize(("n", "rho"), [(500, 0.004), (2000, 0.001), (2000, 0.003), (300, 0.1)])
def test_nine_in_ten_harmless_candidates_pass_the_smallest_margin(n, rho):
    margin = resolvable(n, rho)
    error = 4 * math.sqrt(0.09 / RUNS)
    assert passing(n, rho, 1.001 * margin) >= 0.9 - error
    assert passing(n, rho, 0.85 * margin) < 0.9


def test_power_is_that_of_the_verdict():
    for n, rho, margin in ((2000, 0.003, 0.0036), (300, 0.02, 0.02)):
        expected = power(n, margin, rho)
        assert passing(n, rho, margin) == pytest.approx(expected, abs=5 * 0.5 / math.sqrt(RUNS))


def test_many_samples_need_no_sum():
    n, rho = 2000, 1.001 * resolution.MANY / 2000
    approximate = resolvable(n, rho)
    assert 0.885 < power(n, approximate, rho) < 0.91
    assert resolvable(n, 0.999 * resolution.MANY / n) == pytest.approx(approximate, rel=0.02)


def test_the_samples_a_limit_needs():
    assert needed(0.01, 0.0) == 299
    assert needed(0.01, 0.03) == pytest.approx(2580, rel=0.04)
    assert needed(0.01, 0.2) == 17_200
    assert needed(0.0, 0.03) == math.inf
    assert needed(1.0, 0.5) == 1
    assert resolvable(299, 0.0) <= 0.01 < resolvable(298, 0.0)
    assert resolvable(0, 0.0) == 1.0
    assert resolvable(1, 1.0) == 1.0


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 20_000),
    rho=st.floats(0, 1),
    effect=st.floats(1, 20),
    degrees=st.one_of(st.none(), st.integers(1, 200)),
)
def test_what_is_resolvable_takes_no_more_samples_than_there_are(n, rho, effect, degrees):
    margin = resolvable(n, rho * effect, effect, degrees)
    assert 0 < margin <= 1
    wanted = needed(min(1.0, 1.02 * margin), rho * effect, effect, degrees)
    assert wanted >= 1
    if wanted > n and margin < 1 / 1.02:
        # Whole counts: more samples can decide a little less, but not much.
        assert power(n, 1.02 * margin, rho * effect, effect, degrees) >= 0.88


@settings(deadline=None, max_examples=60)
@given(n=st.integers(10, 5000), rho=st.floats(0.0001, 0.1), margin=st.floats(0.001, 0.2))
def test_a_wider_margin_is_never_harder(n, rho, margin):
    assert power(n, 1.1 * margin, rho) >= power(n, margin, rho) - 1e-12
    assert 0 <= power(n, margin, rho) <= 1 + 1e-9
