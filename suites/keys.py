"""What a cached result depends on, as plain data: its cache key is the digest of that."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gauge.cache import digest, file_digest
from gauge.machine import cpu_flags, cpu_name, versions
from suites.catalog import ROOT, Catalog, Definition
from suites.matrix import Cell
from suites.options import Settings
from suites.sources import source_digest

# Raised when suites/jobs.py changes what it stores for the same inputs.
RECIPE = 1

# The same for suites/training_jobs.py.
TRAINING_RECIPE = 1

JOBS = (
    "confirming",
    "edge_jobs",
    "first_answer",
    "jobs",
    "plugins",
    "reopened",
    "served",
    "serving_jobs",
    "stopwatch",
    "training_jobs",
    "world",
)
"""Modules of this package that run in workers."""

SEARCHED = "searched_on"
"""In the keys of artifacts that were found by measuring times: the processor that took them."""

PIPELINE = ROOT / "optimizers" / "pipeline.py"


def _model(definition: Definition, name: str, settings: Settings) -> dict[str, Any]:
    key: dict[str, Any] = {"model": name, "source": source_digest([definition.path])}
    if settings.imagenet and definition.name == "imagenet":
        key["data"] = digest(
            sorted(
                (str(path.relative_to(settings.imagenet)), path.stat().st_size)
                for path in settings.imagenet.rglob("*")
                if path.is_file()
            )
        )
    return key


def weights(catalog: Catalog, model: str, settings: Settings) -> dict[str, Any]:
    """What a model's FP32 weights depend on."""
    return {
        "recipe": RECIPE,
        **_model(catalog.models[model], model, settings),
        "seed": settings.seed,
        "threads": settings.threads.count,
        "versions": versions(),
        "python": platform.python_version(),
        # Another instruction set sums in another order, and training amplifies that.
        "machine": [platform.machine(), cpu_flags()],
    }


def budgeted(catalog: Catalog, cell: Cell, settings: Settings) -> dict[str, float]:
    """The budgets that hold for a cell: none where no stage keeps to any."""
    keeps = any(catalog.techniques[one.technique].attributes["budgeted"] for one in cell.stages)
    return settings.budget if keeps else {}


def searched(catalog: Catalog, cell: Cell) -> bool:
    """Whether times decide what the cell's artifact is: another processor would find another."""
    stages = [catalog.techniques[one.technique].attributes for one in cell.stages]
    return cell.automatic or any(one["budgeted"] for one in stages)


def goal(cell: Cell, settings: Settings) -> dict[str, Any]:
    """What a cell that chooses its pipeline itself is to find; empty for all others."""
    return settings.goals.get(cell.id, {})


def code(catalog: Catalog, cell: Cell, root: Path = ROOT) -> dict[str, str]:
    """The hashes in a cell's keys that its source code gives: the model's, and the technique's.

    root: another copy of the project, at another commit. Raises FileNotFoundError where that has
    no such file.
    """
    # What chooses among all techniques depends on each of them.
    names = catalog.techniques if cell.automatic else [stage.technique for stage in cell.stages]
    modules = [catalog.techniques[name].path for name in names]
    every = (
        [catalog.models[cell.model].path],
        [*modules, PIPELINE, catalog.targets[cell.target].path],
    )
    own, technique = ([_in(path, root) for path in paths] for paths in every)
    return {
        "source": source_digest(own, root),
        "technique_source": source_digest(technique, root),
    }


def _in(path: Path, root: Path) -> Path:
    """The same file of another copy; a plug-in of elsewhere is in no copy."""
    if root == ROOT:
        return path
    if not path.is_relative_to(ROOT):
        raise FileNotFoundError(path)
    return root / path.relative_to(ROOT)


def portable(key: Mapping[str, Any]) -> dict[str, Any]:
    """What of a key must be the same for an entry that another machine made to serve here.

    How many threads and which instructions it was made with changes its last digits, not what it
    is; another recipe, seed, version or architecture does. Where times decided what was found, the
    processor and its threads count as well: another one would find another artifact.
    """
    kept = {name: value for name, value in key.items() if name != "python"}
    if SEARCHED in key:
        return kept
    del kept["threads"]
    return {**kept, "machine": key["machine"][:1]}


def anywhere(key: Mapping[str, Any]) -> dict[str, Any]:
    """A key without the processor whose times decide: what it says wherever they were taken."""
    return {name: value for name, value in key.items() if name != SEARCHED}


def artifact(
    catalog: Catalog, cell: Cell, settings: Settings, sha256: str, files: Sequence[str] = ()
) -> dict[str, Any]:
    """What a cell's artifact depends on.

    sha256: the baseline weights'. files: SHA-256 of the user's files that the technique reads.
    """
    wanted = goal(cell, settings)
    target = catalog.targets[cell.target]
    # Left out where there is none, so that a budget makes no other artifact stale.
    budget = budgeted(catalog, cell, settings)
    return {
        **weights(catalog, cell.model, settings),
        **({"budget": budget} if budget else {}),
        **({"goal": wanted} if wanted else {}),
        # Left out where nothing is searched, for the same cause.
        **({SEARCHED: cpu_name()} if searched(catalog, cell) else {}),
        **code(catalog, cell),
        "weights": sha256,
        "files": list(files),
        "technique": cell.technique,
        "stages": [list(stage) for stage in cell.stages],
        "target": [cell.target, dict(target.attributes)],
    }


def training(
    catalog: Catalog,
    cell: Cell,
    settings: Settings,
    seed: int,
    most_steps: int | None,
    candidate: bool,
) -> dict[str, Any]:
    """What one training depends on; FP32's not on the technique, but on how a batch is taken."""
    stage, target = cell.stages[0], catalog.targets[cell.target]
    definition = catalog.techniques[stage.technique]
    technique = [cell.technique, source_digest([definition.path])] if candidate else None
    return {
        **weights(catalog, cell.model, settings),
        "training": TRAINING_RECIPE,
        "seed": seed,
        "params": dict(stage.params),
        "most_steps": most_steps,
        "technique": technique,
        "target": [cell.target, dict(target.attributes), source_digest([target.path])],
    }


def identity(catalog: Catalog, settings: Settings) -> dict[str, Any]:
    """What must be the same for a stopped run's measurements to count in a resumed one."""
    definitions = [*catalog.models.values(), *catalog.techniques.values()]
    paths = {one.path for one in [*definitions, *catalog.targets.values()]}
    return {
        "source": source_digest([*paths, *(ROOT / "suites" / f"{one}.py" for one in JOBS)]),
        "plugins": {path.name: file_digest(path) for path in settings.plugins},
        "versions": versions(),
        "machine": [platform.machine(), cpu_flags()],
        "threads": settings.threads.count,
        "seed": settings.seed,
    }
