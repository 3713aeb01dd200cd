"""Percentiles with distribution-free bounds, and outliers that are counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from gauge.percentiles import far_out, least, median_interval, table


@pytest.mark.parametrize(("percentile", "needed"), [(50, 5), (90, 29), (99, 299)])
def test_the_fewest_samples_of_each_bound(percentile, needed):
    assert least(percentile) == needed
    share = percentile / 100
    assert 1 - share**needed >= 0.95 > 1 - share ** (needed - 1)


def test_too_few_samples_say_how_many_it_takes():
    for count, carried in ((0, 0), (4, 0), (5, 1), (28, 1), (29, 2), (298, 2), (299, 3)):
        found = table([1e-3 + 1e-6 * index for index in range(count)])
        assert found["n"] == count
        entries = [found[name] for name in ("p50", "p90", "p99")]
        assert sum(entry["value"] is not None for entry in entries) == carried
        for entry in entries[carried:]:
            assert (entry["value"], entry["high"]) == (None, None)
    assert table([0.1] * 298)["p99"]["reason"] == "needs n ≥ 299, has 298"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_values_are_order_statistics_in_any_order():
    samples = [float(value) for value in range(1, 301)]
    found = table(np.random.default_rng(0).permutation(samples).tolist())
    assert [found[name]["value"] for name in ("p50", "p90", "p99")] == [150, 270, 297]
    # With 300 samples the bound of p99 is the largest; of p50 the 165th: P(Bin(300, .5) <= 164).
    assert found["p99"]["high"] == 300
    assert found["p50"]["high"] == 165
    assert stats.binom.cdf(164, 300, 0.5) >= 0.95 > stats.binom.cdf(163, 300, 0.5)


@pytest.mark.parametrize("percentile", [50, 90, 99])
def test_the_bound_covers_whatever_the_distribution(percentile):
    rng = np.random.default_rng(1)
    truth = stats.lognorm.ppf(percentile / 100, 1.5)
    covered = sum(
        table(rng.lognormal(0, 1.5, 400).tolist())[f"p{percentile}"]["high"] >= truth
        for _ in range(500)
    )
    # 95 % or more: fewer than 455 of 500 have a chance of 0.02 %.
    assert covered >= 455


def test_outliers_are_those_beyond_three_interquartile_ranges():
    assert far_out([1.0, 2.0, 3.0, 4.0, 5.0]) == 0
    # Quartiles 2 and 4: the fences are -4 and 10.
    assert far_out([1.0, 2.0, 3.0, 4.0, 9.9]) == 0
    assert far_out([1.0, 2.0, 3.0, 4.0, 10.1]) == 1
    assert far_out([-4.1, 2.0, 3.0, 4.0, 100.0]) == 2
    assert far_out([]) == far_out([1.0, 99.0, 1.0]) == 0
    assert type(far_out([0.0] * 9 + [1.0])) is int


@pytest.mark.parametrize(
    ("count", "low", "high", "coverage"),
    [
        (1, 1, 1, 0.0),
        (5, 1, 5, 0.9375),
        (6, 1, 6, 0.96875),
        (7, 1, 7, 0.984375),
        (15, 4, 12, 0.964844),
    ],
)
def test_the_median_lies_between_order_statistics(count, low, high, coverage):
    found = median_interval(list(range(count, 0, -1)))
    assert found == (low, high, pytest.approx(coverage, abs=1e-6))


def test_no_samples_have_no_median():
    with pytest.raises(ValueError, match="no samples"):
        median_interval([])


def test_the_interval_covers_the_median_as_often_as_it_says():
    generator = np.random.default_rng(7)
    draws = generator.lognormal(size=(4000, 15))
    held = [low <= 1.0 <= high for low, high, _ in map(median_interval, draws)]
    assert abs(np.mean(held) - 0.9648) < 0.015
