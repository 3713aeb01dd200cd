"""Which suites a command asks, and for which cells: the gates' always, training's where named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gauge.names import base, names_match
from suites.catalog import ROOT, SUITES, Catalog
from suites.matrix import Cell, cells

if TYPE_CHECKING:
    from suites.options import Settings

TRAINING = ROOT / "suites" / "test_training.py"


def asked(catalog: Catalog, settings: Settings, *, trains: bool) -> list[Cell]:
    """The cells of a run, the gates' first.

    trains: whether the training suite is named; a technique of its own asks it as well.
    """
    found = []
    for suite, wanted in _by_suite(catalog, settings.techniques).items():
        named = suite == "gates" or trains
        if suite == "training" and trains and not wanted:
            wanted = list(settings.techniques)  # `*`, or a name that is told to be none of its own
        if wanted or (named and not settings.techniques):
            found += cells(
                catalog,
                matrix=settings.matrix,
                targets=settings.targets,
                models=settings.models,
                techniques=wanted,
                suite=suite,
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
