"""What a search has built on the way to what it found, kept as the cell that it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suites import matrix

if TYPE_CHECKING:
    from suites.engine import Engine
    from suites.matrix import Cell

FOLDER = "before"
"""In the folder of the search's own artifact, as long as that is being built."""


def adopt(engine: Engine, cell: Cell, made: dict[str, Any], directory: Path) -> None:
    """Keep the pipeline before its last stage as the artifact of its own cell, if there is none.

    The evidence of what was found asks for it, and its own job would build the same once more.
    made: what the job said of the search's artifact; what it said of this one is taken out.
    """
    before = made.pop(FOLDER)
    if before is None:
        return
    device = engine.device_of(cell.target)
    earlier = matrix.made(engine.catalog, cell.model, before["stages"], device)
    # A run that knows the cell has it already, or has a reason why not, which is that cell's own.
    if not engine.known("artifact", earlier):
        engine.keep(earlier, _moved(directory / FOLDER, before))
    shutil.rmtree(directory / FOLDER)


def _moved(folder: Path, meta: dict[str, Any]) -> Callable[[Path, Path], dict[str, Any]]:
    def build(directory: Path, _: Path) -> dict[str, Any]:
        for one in folder.iterdir():
            one.rename(directory / one.name)
        return meta

    return build
