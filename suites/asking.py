"""Which suites a command asks, and for which cells: the gates' always, training's where named."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gauge.names import base, names_match
from suites.catalog import ROOT, SUITES, Catalog
from suites.matrix import Cell, cells

if TYPE_CHECKING:
    from suites.options import Settings

GATES = ROOT / "suites" / "test_gates.py"
TRAINING = ROOT / "suites" / "test_training.py"


def asked(catalog: Catalog, settings: Settings, named: Collection[Path]) -> list[Cell]:
    """The cells of a run, the gates' first.

    named: what the command names. The training suite is asked where its file is, or where a
    technique of its own is. Raises pytest.UsageError where a named file has nothing to ask.
    """
    found: list[Cell] = []
    trains = TRAINING in named
    for suite, wanted in _by_suite(catalog, settings.techniques).items():
        everything = not settings.techniques and (trains or suite == "gates")
        if suite == "training" and trains and not wanted:
            wanted = list(settings.techniques)  # `*`, or a name that is told to be none of its own
        if wanted or everything:
            found += cells(
                catalog,
                matrix=settings.matrix,
                targets=settings.targets,
                models=settings.models,
                techniques=wanted,
                suite=suite,
            )
    if GATES in named and all(cell.trains for cell in found):
        words = " ".join(f"--technique {one}" for one in settings.techniques)
        raise pytest.UsageError(
            f"suites/test_gates.py has nothing to ask of ways to train, and {words} names no "
            f"other: pytest suites/test_training.py {words}"
        )
    return found


def named_paths(config: pytest.Config) -> list[Path]:
    """The files and folders that the command names."""
    return [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]


def _by_suite(catalog: Catalog, patterns: Iterable[str]) -> dict[str, list[str]]:
    """Patterns of --technique by the suite they select from.

    A pattern that also matches what the gates ask (`*`) is theirs: nobody asks for hours of
    training by a star.
    """
    found: dict[str, list[str]] = {suite: [] for suite in SUITES}
    for pattern in patterns:
        hit = {
            suite
            for suite in found
            if any(names_match(base(pattern), name) for name in catalog.of_suite(suite))
        }
        found["training" if hit == {"training"} else "gates"].append(pattern)
    return found
