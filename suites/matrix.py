"""The cells: which model meets which technique on which target. A pure function of names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gauge.names import is_glob, names_match
from gauge.policy import CellFacts
from suites import naming
from suites.catalog import CLASS_OF, Catalog
from suites.combinations import PIPELINES
from suites.naming import Stage


@dataclass(frozen=True)
class Cell:
    """One model, one technique (perhaps a pipeline) and one target."""

    model: str
    technique: str
    target: str
    stages: tuple[Stage, ...] = field(compare=False)
    cls: str
    family: str
    lossless: bool

    @property
    def id(self) -> str:
        return f"{self.model}-{self.technique}-{self.target}"

    def item(self, batch: int | None) -> str:
        """The name of a question to this cell, as pytest shows it: `resnet18-none-cpu-b1`."""
        return self.id if batch is None else f"{self.id}-b{batch}"

    @property
    def facts(self) -> CellFacts:
        """What the policy may ask about it."""
        return CellFacts(self.model, self.technique, self.family, self.cls, self.target)


def cells(
    catalog: Catalog,
    *,
    matrix: str,
    targets: Iterable[str],
    models: Iterable[str] = (),
    techniques: Iterable[str] = (),
) -> list[Cell]:
    """The selected cells in a fixed order: by target, model, technique as the catalogue lists them.

    Raises pytest.UsageError for a name or glob that selects nothing.
    """
    models, techniques = list(models), list(techniques)
    chosen_targets = _select("target", sorted(catalog.targets), targets)
    chosen_models = _models(catalog, models, matrix)
    declared = _declared(catalog, matrix if not techniques else "full")
    chosen_techniques = _techniques(catalog, declared, techniques)
    everything = bool(models or techniques) or matrix == "full"
    found = []
    for target in chosen_targets:
        holds = catalog.targets[target].attributes["standard"]
        for model in chosen_models:
            for technique in chosen_techniques:
                if everything or _standard(catalog, model, technique, holds):
                    found.append(cell_of(catalog, model, technique, target))
    return found


def named_paths(config: pytest.Config) -> list[Path]:
    """The files and folders that the command names."""
    return [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]


def prefixes(catalog: Catalog, cell: Cell, target: str) -> list[Cell]:
    """The cells that a pipeline's stages pass through, shortest first, itself left out.

    target: the FP32 target of the same device, where stages before the last work.
    """
    names = [
        naming.format_pipeline(cell.stages[:end], catalog.variants())
        for end in range(1, len(cell.stages))
    ]
    return [cell_of(catalog, cell.model, name, target) for name in names]


def cell_of(catalog: Catalog, model: str, technique: str, target: str) -> Cell:
    """The cell of these names; ValueError for a pipeline that cannot be parsed."""
    stages = tuple(naming.parse(technique, catalog.variants()))
    definitions = [catalog.techniques[stage.technique] for stage in stages]
    families = [one.attributes["family"] for one in definitions]
    return Cell(
        model=model,
        technique=naming.format_pipeline(stages, catalog.variants()),
        target=target,
        stages=stages,
        cls=max(CLASS_OF[one.attributes["changes"]] for one in definitions),
        family=families[0] if len(set(families)) == 1 else "combination",
        lossless=all(one.attributes["lossless"] for one in definitions)
        and catalog.targets[target].attributes["dtype"] == "float32",
    )


def _standard(catalog: Catalog, model: str, technique: str, holds: Iterable[str] | None) -> bool:
    """Whether the standard matrix has this pair.

    holds: the target's own `model-technique` patterns, or None: then the technique says which
        models. A model from a plug-in, which no technique can know, meets them all.
    """
    if holds is not None:
        pairs = [pattern.split("-", 1) for pattern in holds]
        return any(
            names_match(left, model) and names_match(right, technique) for left, right in pairs
        )
    if catalog.models[model].plugin:
        return True
    if technique in PIPELINES:
        globs: Iterable[str] | None = PIPELINES[technique]
    else:
        globs = catalog.techniques[technique.partition(":")[0]].attributes["standard"]
    return globs is None or any(names_match(glob, model) for glob in globs)


def _declared(catalog: Catalog, matrix: str) -> list[str]:
    names = []
    for name, definition in sorted(catalog.techniques.items()):
        variants: tuple[dict[str, Any], ...] = definition.attributes["variants"] or ({},)
        for params in variants if matrix == "full" else variants[:1]:
            names.append(naming.format_stage(name, params, variants))
    return list(dict.fromkeys([*names, *PIPELINES]))


def _models(catalog: Catalog, patterns: list[str], matrix: str) -> list[str]:
    everything = sorted(catalog.models)
    if patterns:
        return _select("model", everything, patterns)
    families: set[int] = set()
    chosen = []
    for name in everything:
        definition = catalog.models[name]
        if not definition.attributes["variants"]:
            chosen.append(name)
        elif matrix == "full" and id(definition) not in families:
            # One member stands for a family of dozens; --model names others.
            families.add(id(definition))
            chosen.append(name)
    return chosen


def _techniques(catalog: Catalog, declared: list[str], patterns: list[str]) -> list[str]:
    if not patterns:
        return declared
    chosen: dict[str, None] = {}
    for pattern in patterns:
        hits = [name for name in declared if names_match(pattern, name)]
        if not hits and not is_glob(pattern):
            hits = [_undeclared(catalog, pattern)]
        if not hits:
            raise _unknown("technique", pattern, declared)
        chosen.update(dict.fromkeys(hits))
    return list(chosen)


def _undeclared(catalog: Catalog, text: str) -> str:
    """A pipeline or parameter value that no file declares; legal as long as it parses."""
    try:
        variants = catalog.variants()
        return naming.format_pipeline(naming.parse(text, variants), variants)
    except ValueError as error:
        raise pytest.UsageError(f"--technique: {error}") from error


def _select(kind: str, known: list[str], patterns: Iterable[str]) -> list[str]:
    chosen: dict[str, None] = {}
    for pattern in patterns:
        hits = [name for name in known if names_match(pattern, name)]
        if not hits:
            raise _unknown(kind, pattern, known)
        chosen.update(dict.fromkeys(hits))
    return list(chosen)


def _unknown(kind: str, found: str, known: list[str]) -> pytest.UsageError:
    close = difflib.get_close_matches(found, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = known if len(known) <= 40 else [*known[:40], f"… ({len(known)} in all)"]
    return pytest.UsageError(
        f"--{kind}: no {kind} is called {found!r}{hint} There are: {', '.join(listed)}"
    )
