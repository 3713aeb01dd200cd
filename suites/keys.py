"""What a cached result depends on, as plain data: its cache key is the digest of that."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from gauge.cache import digest, file_digest
from gauge.machine import cpu_flags, versions
from suites.catalog import ROOT, Catalog, Definition
from suites.matrix import Cell
from suites.options import Settings
from suites.sources import source_digest

# Raised when suites/jobs.py changes what it stores for the same inputs.
RECIPE = 1

JOBS = (
    "edge_jobs",
    "first_answer",
    "jobs",
    "plugins",
    "reopened",
    "served",
    "serving_jobs",
    "stopwatch",
    "world",
)
"""Modules of this package that run in workers."""

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


def artifact(
    catalog: Catalog, cell: Cell, settings: Settings, sha256: str, files: Sequence[str] = ()
) -> dict[str, Any]:
    """What a cell's artifact depends on.

    sha256: the baseline weights'. files: SHA-256 of the user's files that the technique reads.
    """
    modules = [catalog.techniques[stage.technique].path for stage in cell.stages]
    target = catalog.targets[cell.target]
    return {
        **weights(catalog, cell.model, settings),
        "weights": sha256,
        "files": list(files),
        "technique": cell.technique,
        "stages": [list(stage) for stage in cell.stages],
        "technique_source": source_digest([*modules, PIPELINE, target.path]),
        "target": [cell.target, dict(target.attributes)],
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
