"""The cells: which model meets which technique on which target. A pure function of names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gauge.names import base, is_glob, names_match
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
    trains: bool = False
    automatic: bool = False
    """Whether its technique chooses a pipeline, which decides what else it is (suites.choices)."""

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
    suite: str = "gates",
) -> list[Cell]:
    """The selected cells in a fixed order: by target, model, technique as the catalogue lists them.

    suite: whose techniques. For "training" models are those that train, unless named.
    Raises pytest.UsageError for a name or glob that selects nothing.
    """
    models, techniques = list(models), list(techniques)
    chosen_targets = _select("target", sorted(catalog.targets), targets)
    chosen_models = _models(catalog, models, matrix)
    if suite == "training" and not models:
        chosen_models = [one for one in chosen_models if "train" in catalog.models[one].methods]
    declared = _declared(catalog, matrix if not techniques else "full", suite)
    chosen_techniques = _techniques(catalog, declared, techniques)
    everything = bool(models or techniques) or matrix == "full"
    found = []
    for target in chosen_targets:
        holds = catalog.targets[target].attributes["standard"]
        for model in chosen_models:
            for technique in chosen_techniques:
                if everything or _standard(catalog, model, technique, holds):
                    found.append(cell(catalog, model, technique, target))
    return found


def prefixes(catalog: Catalog, whole: Cell, target: str) -> list[Cell]:
    """The cells that a pipeline's stages pass through, shortest first, itself left out.

    target: the FP32 target of the same device, where stages before the last work.
    """
    names = [
        naming.format_pipeline(whole.stages[:end], catalog.variants())
        for end in range(1, len(whole.stages))
    ]
    return [cell(catalog, whole.model, name, target) for name in names]


def made(catalog: Catalog, model: str, stages: Sequence[Mapping[str, Any]], target: str) -> Cell:
    """The cell of a pipeline by the records of its stages, as an artifact holds them."""
    applied = [(one["technique"], one["params"]) for one in stages]
    return cell(catalog, model, naming.format_pipeline(applied, catalog.variants()), target)


def cell(catalog: Catalog, model: str, technique: str, target: str) -> Cell:
    """The cell of a pipeline, declared or not.

    Raises pytest.UsageError where one of several stages chooses pipelines itself.
    """
    stages = tuple(naming.parse(technique, catalog.variants()))
    definitions = [catalog.techniques[stage.technique] for stage in stages]
    alone = [one.name for one in definitions if one.attributes["automatic"]]
    if alone and len(stages) > 1:
        raise pytest.UsageError(
            f"--technique {technique}: {alone[0]} chooses a whole pipeline itself and is no stage "
            f"of one; write --technique {alone[0]}"
        )
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
        trains=any(one.attributes["suite"] == "training" for one in definitions),
        automatic=bool(alone),
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
    definition = catalog.techniques[technique.partition(":")[0]]
    if catalog.models[model].plugin and not definition.attributes["automatic"]:
        return True
    if technique in PIPELINES:
        globs: Iterable[str] | None = PIPELINES[technique]
    else:
        globs = definition.attributes["standard"]
    return globs is None or any(names_match(glob, model) for glob in globs)


def _declared(catalog: Catalog, matrix: str, suite: str) -> list[str]:
    names = []
    for name in catalog.of_suite(suite):
        variants: tuple[dict[str, Any], ...] = catalog.techniques[name].attributes["variants"]
        variants = variants or ({},)
        for params in variants if matrix == "full" else variants[:1]:
            names.append(naming.format_stage(name, params, variants))
    return list(dict.fromkeys([*names, *(PIPELINES if suite == "gates" else ())]))


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
            hits = [_undeclared(catalog, pattern, declared)]
        if not hits:
            raise _unknown("technique", pattern, declared)
        chosen.update(dict.fromkeys(hits))
    return list(chosen)


def _undeclared(catalog: Catalog, text: str, declared: list[str]) -> str:
    """A pipeline or parameter value that no file declares; legal as long as it parses."""
    try:
        variants = catalog.variants()
        stages = naming.parse(text, variants)
    except ValueError as error:
        raise pytest.UsageError(f"--technique: {error}") from error
    names = [stage.technique for stage in stages]
    trains = [one for one in names if one in catalog.of_suite("training")]
    if trains and len(names) > 1:
        raise pytest.UsageError(
            f"--technique: found {text!r}; {trains[0]} is a way to train and no stage of a "
            f"pipeline: ask it by itself, --technique {trains[0]}"
        )
    parts = stages[0].params.get("accumulate", "1") if trains else "1"
    if not (parts.isdigit() and int(parts) > 0):
        raise pytest.UsageError(
            f"--technique: found {text!r}; expected {trains[0]}:N, N being how many parts a batch "
            "is taken in: a whole number from 1 up"
        )
    for stage in stages:
        count = stage.params.get("threads", "all")
        if count != "all" and not (count.isdecimal() and int(count) > 0):
            raise pytest.UsageError(
                f"--technique: found {text!r}; threads of {stage.technique} are all, or a whole "
                f"number from 1 up, found {count!r}"
            )
    if not set(names) & {base(one) for one in declared} and len(names) == 1:
        raise _unknown("technique", text, declared)
    return naming.format_pipeline(stages, variants)


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
