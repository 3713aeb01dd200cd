"""How alike a candidate's outputs are to FP32's, beyond the score: agreement, cosine, calibration.

Arrays in, plain data out; a number that cannot be had is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 15


def compare(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], labels: Array | None
) -> dict[str, Any]:
    """Fidelity of flattened outputs, first dimension = samples.

    labels: int [n] where outputs are class scores [n, classes]; then `agreement` is the share of
    samples with the same largest score. Without labels the outputs are vectors and `cosine` is
    the lowest over samples and tensors.

    Returns {"agreement", "cosine", "extra": {"flip_rate", "sqnr_db", "calibration_error"}}.
    Raises ValueError where the two hold different tensors.
    """
    if set(reference) != set(candidate):
        raise ValueError(f"outputs differ in structure: {sorted(set(reference) ^ set(candidate))}")
    extra: dict[str, Any] = {"sqnr_db": sqnr(reference, candidate)}
    agreement = None
    path = next(iter(reference), None)
    scores = path is not None and reference[path].ndim == 2 and reference[path].shape[1] > 1
    if labels is not None and path is not None and scores:
        before, after = reference[path], candidate[path]
        agreement = float((before.argmax(1) == after.argmax(1)).mean())
        extra["flip_rate"] = 1 - agreement
        extra["calibration_error"] = {
            "baseline": calibration_error(before, labels),
            "candidate": calibration_error(after, labels),
        }
    cosine = None if agreement is not None else lowest_cosine(reference, candidate)
    return {"agreement": agreement, "cosine": cosine, "extra": extra}


def lowest_cosine(reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> float | None:
    """The lowest cosine of a sample's tensors, all flattened; None without a non-zero sample.

    A sample that is zero in one only counts as 0, in both as 1.
    """
    lowest = None
    for path, before in reference.items():
        a = np.asarray(before, dtype=np.float64).reshape(len(before), -1)
        b = np.asarray(candidate[path], dtype=np.float64).reshape(len(before), -1)
        if a.shape != b.shape or not a.size:
            continue
        with np.errstate(all="ignore"):
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosines = (a * b).sum(1) / lengths
        zero = lengths == 0
        cosines[zero] = np.where((a[zero] == b[zero]).all(1), 1.0, 0.0)
        found = float(cosines.min()) if not np.isnan(cosines).any() else math.nan
        lowest = found if lowest is None or not found >= lowest else lowest
    return lowest


def sqnr(reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> float | None:
    """Signal to noise of the candidate in dB; None where both agree or there is no signal."""
    signal = noise = 0.0
    for path, before in reference.items():
        a = np.asarray(before, dtype=np.float64)
        b = np.asarray(candidate[path], dtype=np.float64)
        if a.shape != b.shape:
            return None
        signal += float((a**2).sum())
        noise += float(((a - b) ** 2).sum())
    if not (math.isfinite(signal) and math.isfinite(noise)) or noise == 0 or signal == 0:
        return None
    return 10 * math.log10(signal / noise)


def calibration_error(scores: Array, labels: Array) -> float | None:
    """Expected calibration error in 15 equal bins (Guo et al., ICML 2017), a fraction.

    scores: logits [n, classes]. None where they are not finite.
    """
    logits = np.asarray(scores, dtype=np.float64)
    if not len(logits) or not np.isfinite(logits).all():
        return None
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shares = shifted / shifted.sum(1, keepdims=True)
    confidence, right = shares.max(1), shares.argmax(1) == np.asarray(labels)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(right[bins == one].mean() - confidence[bins == one].mean()) * (bins == one).mean()
        for one in np.unique(bins)
    ]
    return float(sum(gaps))
