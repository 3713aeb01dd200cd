"""Which artifacts the gates have certified, from run to run, and the best of each class.

A run that asks the gates leaves in `certified.json` of the cache every cell that a report would
recommend from: evidence, reload and accuracy PASS by the model's general limit, and a speed. The
suites that put artifacts under the load they are made for take the fastest of each class from
there; they certify nothing themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports import records
from reports.cells import group
from reports.picks import obstacle
from reports.records import Records
from suites import matrix
from suites.catalog import Catalog
from suites.matrix import Cell
from suites.naming import BASELINE

if TYPE_CHECKING:
    from suites.options import Settings
    from suites.run import Run

FILE = "certified.json"
_GATES = ("evidence", "reload", "accuracy")


class Certified:
    """The certified cells of a cache by id, each with the numbers that it was certified with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, dict[str, Any]] = {}
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError):
            return  # a first run, or a damaged file: certified again by the gates
        if isinstance(data, dict):
            self.known = {name: one for name, one in data.items() if _usable(one)}

    def add(self, found: Records) -> None:
        """Take a run's verdicts: cells that it certified, and those that it did not any more."""
        hashes = {name: one.get("sha256") for name, one in (found.run.get("models") or {}).items()}
        for cell in group(found):
            name = "-".join(cell.key)
            if ((cell.gate("evidence") or {}).get("evidence") or {}).get("found"):
                continue  # it may find another pipeline next time: certify what it found by name
            if obstacle(cell) is None:
                accuracy, speed = cell.gate("accuracy") or {}, cell.gate("speed") or {}
                self.known[name] = {
                    "model": cell.model,
                    "technique": cell.technique,
                    "target": cell.target,
                    "class": cell.class_,
                    "speed": speed["value"],
                    "drop": accuracy.get("value"),
                    "drop_high": accuracy.get("high"),
                    "run": found.run["run"],
                    "weights": hashes.get(cell.model),
                }
            elif any((one := cell.gate(gate)) and one["status"] != "PASS" for gate in _GATES):
                self.known.pop(name, None)

    def save(self) -> None:
        records.replace(self.path, json.dumps(self.known, indent=1).encode())

    def best(self, model: str, target: str) -> list[dict[str, Any]]:
        """The fastest of each class, FP32 itself left out."""
        fastest: dict[str | None, dict[str, Any]] = {}
        for one in self.known.values():
            if (one["model"], one["target"]) != (model, target) or one["technique"] == BASELINE:
                continue
            if one["speed"] > fastest.get(one["class"], {"speed": 0.0})["speed"]:
                fastest[one["class"]] = one
        return [fastest[key] for key in sorted(fastest, key=str)]

    def told(self, run: Run, cell: Cell) -> dict[str, Any] | None:
        """What a record says of a cell's certificate; None where it has none that holds here."""
        one = self.known.get(cell.id)
        if one is None:
            return None
        weights = run.engine.baseline(cell.model, cell.target).weights.meta["sha256"]
        return {**one, "holds": one["weights"] in (None, weights)}


def _usable(one: Any) -> bool:
    words = ("model", "technique", "target")
    return (
        isinstance(one, dict)
        and all(isinstance(one.get(key), str) for key in words)
        and isinstance(one.get("speed"), float | int)
        and {"class", "weights", "drop", "drop_high", "run"} <= one.keys()
    )


def chosen(catalog: Catalog, settings: Settings, known: Certified) -> list[Cell]:
    """The cells of a suite under load: FP32 first, then the best certified or those named.

    Raises pytest.UsageError for names that select nothing.
    """

    def cells(techniques: Sequence[str]) -> list[Cell]:
        return matrix.cells(
            catalog,
            matrix=settings.matrix,
            targets=settings.targets,
            models=settings.models,
            techniques=techniques,
        )

    plain, named = cells([BASELINE]), cells(settings.techniques)
    found: list[Cell] = []
    for base in plain:
        device = catalog.targets[base.target].attributes["baseline"]
        if device != base.target:
            found.append(matrix.cell(catalog, base.model, BASELINE, device))
        found.append(base)
        if settings.techniques:
            same = (base.model, base.target)
            found += [one for one in named if (one.model, one.target) == same]
        else:
            best = known.best(base.model, base.target)
            found += [
                matrix.cell(catalog, one["model"], one["technique"], one["target"])
                for one in best
                if _declared(catalog, one["technique"])
            ]
    return list(dict.fromkeys(found))


def _declared(catalog: Catalog, technique: str) -> bool:
    """Whether its stages are known here: one of a plug-in may not be in this run."""
    return all(stage.partition(":")[0] in catalog.techniques for stage in technique.split("+"))


def unknown(cells: Iterable[Cell], settings: Settings, known: Certified) -> list[str]:
    """What to run where no certified artifact is known, one sentence a model and target."""
    if settings.techniques:
        return []
    places = dict.fromkeys((cell.model, cell.target) for cell in cells)
    return [
        f"no certified artifact of {model} on {target} is known in this cache, so only FP32 is "
        f"measured: pytest suites/test_gates.py --model {model} --target {target} certifies, "
        "--technique NAME takes one as it is"
        for model, target in places
        if not known.best(model, target)
    ]
