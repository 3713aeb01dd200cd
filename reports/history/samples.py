"""Per-sample results of a run's cells in one file, and what pairing two of them says."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from reports.records import RecordError

FILE = "samples.npz"
ALIKE = 0.99
"""Share of samples on which the same weights must answer alike for the samples to be the same."""


class Scores(NamedTuple):
    """Per-sample scores [n] of a cell; groups [n]: what shares a source, or None."""

    baseline: Any
    candidate: Any
    groups: Any


class Paired(NamedTuple):
    """A candidate's scores against an earlier one's, on the same samples.

    drop, low, high: of the mean score, with its 95 % interval. lost, gained: samples. p: one-sided,
    of losing as much by chance.
    """

    drop: float
    low: float
    high: float
    lost: int
    gained: int
    n: int
    p: float


def pack(folder: Path | None, cells: Iterable[str], path: Path) -> None:
    """Write the scores of these cells (those that a `samples` folder has) into one .npz.

    All cells' scores lie one after another in each array, `ends` says where a cell's end: a file
    of a thousand small arrays takes seconds to read.
    """
    import numpy as np

    found = {}
    for cell in dict.fromkeys(cells):
        source = folder / f"{cell}.npz" if folder else None
        if source is not None and source.is_file():
            found[cell] = _scores(source, _read(source))
    none: list[Any] = [np.zeros(0, "float32")]
    columns = {
        "cells": np.array(list(found), dtype=str),
        "ends": np.cumsum([len(one.candidate) for one in found.values()], dtype="int64"),
        "grouped": np.array([one.groups is not None for one in found.values()], dtype=bool),
        "baseline": np.concatenate([one.baseline for one in found.values()] or none),
        "candidate": np.concatenate([one.candidate for one in found.values()] or none),
        "groups": np.concatenate([_groups(one) for one in found.values()] or none),
    }
    with path.open("xb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def _groups(scores: Scores) -> Any:
    import numpy as np

    return np.zeros(len(scores.candidate), "int64") if scores.groups is None else scores.groups


class Samples:
    """The scores of a run's cells, from its folder in the history or from a report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, cell: str) -> Scores | None:
        """A cell's scores; None where the run has none. RecordError for a damaged file."""
        if self._packed is not None:
            return self._packed.get(cell)
        path = self.folder / "samples" / f"{cell}.npz"
        return _scores(path, _read(path)) if path.is_file() else None

    @cached_property
    def _packed(self) -> dict[str, Scores] | None:
        path = self.folder / FILE
        if not path.is_file():
            return None
        stored = _read(path)
        try:
            ends = stored["ends"].tolist()
            places = [slice(*pair) for pair in zip([0, *ends], ends, strict=False)]
            return {
                str(cell): Scores(
                    stored["baseline"][place],
                    stored["candidate"][place],
                    stored["groups"][place] if grouped else None,
                )
                for cell, grouped, place in zip(
                    stored["cells"], stored["grouped"], places, strict=True
                )
            }
        except (KeyError, ValueError, TypeError) as error:
            raise RecordError(path, None, f"not the samples of a run ({error})", _RESTORE) from None


_RESTORE = "restore it: without it no accuracy can be paired"


def _read(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordError(path, None, f"no whole .npz file ({error})", _RESTORE) from error


def _scores(path: Path, found: dict[str, Any]) -> Scores:
    try:
        scores = Scores(found["baseline"], found["candidate"], found.get("groups"))
    except KeyError as error:
        raise RecordError(path, None, f"no array {error}", _RESTORE) from None
    if len({len(one) for one in scores if one is not None}) != 1:
        raise RecordError(path, None, "arrays of different lengths", _RESTORE)
    return scores


def unpaired(old: Scores, new: Scores) -> str | None:
    """Why two cells' scores do not pair, or None where they do."""
    import numpy as np

    if len(old.candidate) != len(new.candidate):
        return f"{len(old.candidate)} samples, then {len(new.candidate)}"
    if not all(np.isfinite(one).all() for one in (old.candidate, new.candidate)):
        return "scores that are not finite"
    same = np.isclose(old.baseline, new.baseline, rtol=0, atol=1e-3).mean()
    if same < ALIKE:
        return f"FP32 scores differ on {1 - same:.0%} of the samples: they are other samples"
    return None


def pair(old: Any, new: Any, groups: Any = None) -> Paired:
    """The drop from the earlier scores to the later ones, paired by sample.

    Right-or-wrong scores: the exact test of Q. McNemar (Psychometrika 12, 1947) with the interval
    of C. Clopper and E. Pearson (Biometrika 26, 1934) for the share of the differing samples that
    were lost. Other scores, and samples that share a source (groups: one id a sample): Student's t
    over the samples' or groups' differences.
    """
    import numpy as np

    before, after = np.asarray(old, dtype=float), np.asarray(new, dtype=float)
    loss = before - after
    n, lost, gained = len(loss), int((loss > 0).sum()), int((loss < 0).sum())
    binary = bool((np.isin(before, (0, 1)) & np.isin(after, (0, 1))).all())
    if not lost and not gained:
        return Paired(0.0, 0.0, 0.0, 0, 0, n, 1.0)
    exact = binary and groups is None
    low, high, p = _exact(lost, gained, n) if exact else _student(loss, groups)
    return Paired(float(loss.mean()), low, high, lost, gained, n, p)


def _exact(lost: int, gained: int, n: int) -> tuple[float, float, float]:
    from scipy import special

    differing = lost + gained
    least = float(special.betaincinv(lost, gained + 1, 0.025)) if lost else 0.0
    most = float(special.betaincinv(lost + 1, gained, 0.975)) if gained else 1.0
    low, high = ((2 * share - 1) * differing / n for share in (least, most))
    p = float(special.betainc(lost, gained + 1, 0.5)) if lost else 1.0
    return low, high, p


def _student(loss: Any, groups: Any) -> tuple[float, float, float]:
    import numpy as np
    from scipy import stats

    sums = loss
    if groups is not None:
        _, place = np.unique(np.asarray(groups), return_inverse=True)
        sums = np.bincount(place, weights=loss)
    scale = len(sums) / len(loss)
    mean, count = float(sums.mean()), len(sums)
    if count < 2:
        return -1.0, 1.0, 1.0
    error = float(sums.std(ddof=1)) / count**0.5
    if error <= 1e-12 * abs(mean):  # every sample lost the same: nothing is left to chance
        return mean * scale, mean * scale, 0.0 if mean > 0 else 1.0
    half = float(stats.t.ppf(0.975, count - 1)) * error
    p = float(stats.t.sf(mean / error, count - 1))
    return (mean - half) * scale, (mean + half) * scale, p
