"""One fixed, stratified way to cut labelled samples into disjoint splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SEED = 20250101
"""The cut never changes with a run's seed: results stay comparable, and nothing leaks."""


def stratified(labels: np.ndarray, counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Disjoint row numbers for each split, every class in the same share in each.

    labels: int [n]. counts: rows of each split; their sum is at most n.
    Returns sorted int64 row numbers by split; raises ValueError when the counts do not fit.
    """
    if sum(counts.values()) > len(labels):
        raise ValueError(f"{sum(counts.values())} samples asked for, there are {len(labels)}")
    # RandomState, not default_rng: only its stream is promised never to change (NumPy's NEP 19).
    random = np.random.RandomState(SEED)
    shuffled = random.permutation(len(labels))
    # Each sample gets its position inside its class as a share of the class; cutting the samples
    # in that order cuts every class in the same proportions, whatever the sizes.
    position = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    order = shuffled[np.argsort(position[shuffled], kind="stable")]
    splits: dict[str, np.ndarray] = {}
    start = 0
    for name, count in counts.items():
        splits[name] = np.sort(order[start : start + count])
        start += count
    return splits
