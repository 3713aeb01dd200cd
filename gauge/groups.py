"""What samples that share a source (a photo, a template, a user) are worth as independent ones.

A photo whose crops are hard is hard in all of them, so the mean of n crops varies more than that of
n photos: by the design effect (L. Kish, Survey Sampling, 1965). Dividing the counts by it and
judging them as independent ones is J. Rao and A. Scott's method (Biometrics 48, 1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

PLANNED_CORRELATION = 0.1
"""The correlation within groups that PASS reckons with even where the samples show less.

Few groups tell nothing about how losses gather in them, least of all where nothing was lost. Losses
of the zoo's quantised models correlate by .01 to .10 within photos and templates, and by .2 where a
third of all answers is lost.
"""


class Design(NamedTuple):
    """How many samples of groups weigh as much as an independent one; 1 where they do not share.

    seen: the variance of the mean over that of independent samples, at least 1. reckoned: the same,
    and at least what groups of these sizes have at the planned correlation. groups: how many.
    """

    seen: float = 1.0
    reckoned: float = 1.0
    groups: int | None = None

    @property
    def degrees(self) -> int | None:
        """Degrees of freedom of a variance over groups; None without groups."""
        return None if self.groups is None else max(1, self.groups - 1)


def design(differences: Any, groups: Sequence[Any] | None) -> Design:
    """The design effects of paired differences [n] in groups (one id a sample)."""
    import numpy as np

    if groups is None:
        return Design()
    values = np.asarray(differences, dtype=float)
    sums, sizes = by_group(values, groups)
    reckoned = planned(len(values), len(sizes), float((sizes**2).sum() / len(values)))
    alone = float(((values - values.mean()) ** 2).sum()) / len(values) ** 2
    if len(sums) < 2 or alone <= 0:
        return Design(1.0, reckoned, len(sums))
    seen = max(1.0, standard_error(sums, sizes) ** 2 / alone)
    return Design(seen, max(seen, reckoned), len(sums))


def planned(samples: int, groups: int | None, size: float | None = None) -> float:
    """The design effect at the planned correlation; size: of a group, by default the mean."""
    if groups is None:
        return 1.0
    return 1 + ((samples / groups if size is None else size) - 1) * PLANNED_CORRELATION


def standard_error(sums: Any, sizes: Any) -> float:
    """Of the mean of all samples, from each group's sum and size (the ratio estimator)."""
    count, total = len(sums), float(sizes.sum())
    residuals = sums - float(sums.sum()) / total * sizes
    return math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total


def by_group(differences: Any, groups: Sequence[Any] | None) -> tuple[Any, Any]:
    """Sum of the differences and number of samples of each group; None: each sample is its own."""
    import numpy as np

    values = np.asarray(differences, dtype=float)
    if groups is None:
        return values, np.ones(len(values))
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(member, weights=values), np.bincount(member).astype(float)
