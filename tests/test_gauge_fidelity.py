"""Fidelity figures against values worked out by hand; no NaN leaves the module as a number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gauge import fidelity


def one(array):
    return {"output": np.asarray(array, dtype=np.float32)}


SCORES = [[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]]
FLIPPED = [[4.0, 0.0], [0.0, 4.0], [0.0, 4.0], [0.0, 4.0]]
LABELS = np.array([0, 1, 0, 0])


def test_agreement_is_the_share_of_equal_labels():
    found = fidelity.compare(one(SCORES), one(FLIPPED), LABELS)
    assert found["agreement"] == 0.75
    assert found["cosine"] is None
    assert found["extra"]["flip_rate"] == 0.25


def test_identical_outputs_agree_fully():
    found = fidelity.compare(one(SCORES), one(SCORES), LABELS)
    assert found["agreement"] == 1.0
    assert found["extra"]["sqnr_db"] is None


def test_without_labels_the_lowest_cosine_of_any_sample_and_tensor_counts():
    reference = {"a": np.eye(2, dtype=np.float32), "b": np.ones((2, 2), np.float32)}
    candidate = {"a": np.eye(2, dtype=np.float32), "b": np.array([[1, 1], [1, 0]], np.float32)}
    found = fidelity.compare(reference, candidate, None)
    assert found["agreement"] is None
    assert found["cosine"] == pytest.approx(math.sqrt(0.5))


def test_scores_of_one_class_or_several_dimensions_are_told_by_cosine():
    labels = np.array([0, 1])
    assert fidelity.compare(one([[1.0], [2.0]]), one([[1.0], [2.0]]), labels)["cosine"] == 1.0
    volume = np.ones((2, 3, 4))
    assert fidelity.compare(one(volume), one(volume), labels)["agreement"] is None


def test_a_sample_that_is_zero_in_one_only_has_cosine_zero():
    assert fidelity.lowest_cosine(one([[0, 0], [1, 0]]), one([[0, 0], [1, 0]])) == 1.0
    assert fidelity.lowest_cosine(one([[1, 0]]), one([[0, 0]])) == 0.0


def test_another_structure_is_told():
    with pytest.raises(ValueError, match="differ in structure"):
        fidelity.compare({"a": np.ones((1, 1))}, {"b": np.ones((1, 1))}, None)


def test_sqnr_of_a_tenth_of_noise_is_20_db():
    signal = np.ones((4, 4))
    assert fidelity.sqnr(one(signal), one(signal * 1.1)) == pytest.approx(20.0, abs=1e-4)
    assert fidelity.sqnr(one(signal * 0), one(signal)) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_outputs_have_no_sqnr_and_no_calibration_error(bad):
    candidate = np.array(SCORES)
    candidate[0, 0] = bad
    assert fidelity.sqnr(one(SCORES), one(candidate)) is None
    assert fidelity.calibration_error(candidate, LABELS) is None


def test_a_nan_sample_is_never_hidden_by_a_good_one():
    reference = one([[1, 0], [0, 1]])
    for rows in ([[math.nan, 0], [0, 1]], [[1, 0], [0, math.nan]]):
        lowest = fidelity.lowest_cosine(reference, one(rows))
        assert lowest is None or math.isnan(lowest)


def test_calibration_error_by_hand():
    # Ten samples, all 80 % sure; five right: the gap is 0.3.
    sure = math.log(0.8 / 0.2)
    scores = np.array([[sure, 0.0]] * 10)
    labels = np.array([0] * 5 + [1] * 5)
    assert fidelity.calibration_error(scores, labels) == pytest.approx(0.3)


def test_calibration_error_weighs_bins_by_their_samples():
    high, low = math.log(0.9 / 0.1), math.log(0.6 / 0.4)
    scores = np.array([[high, 0.0]] * 3 + [[low, 0.0]])
    labels = np.array([0, 0, 0, 0])
    assert fidelity.calibration_error(scores, labels) == pytest.approx(0.75 * 0.1 + 0.25 * 0.4)


def test_huge_scores_do_not_overflow():
    assert fidelity.calibration_error(np.array([[1e5, -1e5]]), np.array([0])) == 0.0


@given(st.integers(2, 40), st.integers(0, 2**31))
def test_calibration_error_is_a_fraction(n, seed):
    rng = np.random.default_rng(seed)
    found = fidelity.calibration_error(rng.normal(size=(n, 3)) * 5, rng.integers(0, 3, n))
    assert 0 <= found <= 1


def test_half_precision_does_not_overflow_the_sums():
    reference = {"output": torch.full((1, 100), 6e4, dtype=torch.float16).numpy()}
    assert fidelity.lowest_cosine(reference, reference) == pytest.approx(1.0)
    assert fidelity.sqnr(reference, reference) is None
