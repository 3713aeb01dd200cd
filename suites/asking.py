"""Which suites a command asks, and for which cells: the gates' always, training's where named."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gauge import verdict
from gauge.names import base, names_match
from suites.builds import BUILD
from suites.catalog import ROOT, SUITES, Catalog
from suites.matrix import Cell, cells

if TYPE_CHECKING:
    from suites.options import Settings
    from suites.run import Run

FOLDER = ROOT / "suites"
BUILDING = FOLDER / "test_build.py"
GATES = FOLDER / "test_gates.py"
TRAINING = FOLDER / "test_training.py"

LOADED = {name: FOLDER / f"test_{name}.py" for name in verdict.DEPLOYMENTS}
"""The suites that put artifacts under a load."""

_UNDER_LOAD = {gate: suite for gate in verdict.GATES if (suite := verdict.deployment_of(gate))}

HOMES = {
    BUILD: BUILDING,
    **dict.fromkeys(verdict.GATES, GATES),
    **dict.fromkeys(verdict.TRAINING_GATES, TRAINING),
    **{gate: LOADED[suite] for gate, suite in _UNDER_LOAD.items()},
}
"""Gate -> the file that asks it."""

LATE = {**dict.fromkeys((*verdict.TIMED_GATES, *_UNDER_LOAD), 1), "regression": 2}
"""Gates asked after the others: times share rounds, and so do those that confirm a regression."""


def collected(path: Path, run: Run | None) -> bool:
    """Whether one of the files above is asked anything; run: None within a larger repository.

    Either cells are built or their gates are asked. Training takes minutes a model, so it is asked
    where there are cells of it; so does a load, which is asked where its file is named.
    """
    loaded = {file: suite for suite, file in LOADED.items()}
    if run is None:
        return path in (GATES, TRAINING)
    if path in loaded:
        return loaded[path] in run.deployments
    if (path == BUILDING) != (run.settings.stage == BUILD):
        return False
    # Where no cell is left at all, their tests are, and are told as deselected.
    return not run.cells or any(cell.trains == (path == TRAINING) for cell in run.cells)


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
    if settings.stage and any(cell.trains for cell in found):
        raise pytest.UsageError(
            f"--stage {settings.stage}: ways to train make no artifacts that could be measured "
            "elsewhere; leave --stage out, or suites/test_training.py and its techniques"
        )
    return found


def deployments(settings: Settings, named: Collection[Path]) -> tuple[str, ...]:
    """The suites under load that the command names.

    Raises pytest.UsageError beside an option that selects from, or builds, what the gates ask.
    """
    found = tuple(suite for suite, file in LOADED.items() if file in named)
    parts = {
        "--shard": settings.shard,
        "--changed-since": settings.changed_since,
        "--stage build": settings.stage == BUILD,
    }
    for option in [option for option, given in parts.items() if given and found]:
        raise pytest.UsageError(
            f"{option} is for what suites/test_gates.py asks; run suites/test_{found[0]}.py "
            "without it"
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
