"""Shards of one run put together: one record file from several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from reports import records
from reports.history import machine
from reports.plain import listing, mapping
from reports.records import Record, RecordError, Records

OWN = ("shard", "resume", "stage", "max_minutes")
"""Options that shards of one run may differ in."""

KINDS = ("commit", "policy", "machine", "software", "options")
"""What shards must have in common; a command names those that may differ all the same."""


def merge(shards: Sequence[tuple[Path, Records]], allowed: Collection[str] = ()) -> Records:
    """One run from its shards, each with the folder that it lies in.

    RecordError for shards that differ in one of KINDS that is not in `allowed`, that judged the
    same gate, were made from other baseline weights, or are not complete.
    """
    (first_path, first), *others = shards
    for path, shard in shards:
        if not shard.run["complete"]:
            why = shard.run.get("interrupted") or "it did not finish"
            advice = "finish it: run its command again with --resume"
            raise RecordError(path, None, f"a shard that is not complete ({why})", advice)
    for path, shard in others:
        _refuse(first_path, first.run, path, shard.run, allowed)
    _check_parts(shards)
    runs = [shard.run for _, shard in shards]
    header = _header(runs, [path for path, _ in shards])
    verdicts: list[Record] = []
    seen: dict[tuple[Any, ...], Path] = {}
    for path, shard in shards:
        for verdict in shard.verdicts:
            other = seen.setdefault(records.key(verdict), path)
            if other != path:
                what = f"{verdict['id']} {verdict['gate']} is in {other} as well"
                raise RecordError(path, None, what, "shards judge different cells: name each once")
            verdicts.append({**verdict, "run": header["run"]})
    return Records(header, _triaged(verdicts))


def _refuse(first: Path, one: Record, path: Path, other: Record, allowed: Collection[str]) -> None:
    for kind, found in _differences(one, other).items():
        if found and kind not in allowed:
            what = f"another {kind} than the shard {first}: {'; '.join(found)}"
            advice = f"run both alike, or allow it with --allow {kind}"
            raise RecordError(path, None, what, advice)


def _check_parts(shards: Sequence[tuple[Path, Records]]) -> None:
    """Refuse parts of different splits, and a split of which a part is not there."""
    parts = [(path, mapping(shard.run.get("shard"))) for path, shard in shards]
    first = parts[0][1]
    for path, part in parts:
        if part.get("split") != first.get("split"):
            what = f"a part of another split than {parts[0][0]}"
            advice = "split all parts of a run by the same cache's durations, and name them all"
            raise RecordError(path, None, what, advice)
    absent = set(range(1, first.get("of", 0) + 1)) - {part.get("number") for _, part in parts}
    if absent:
        gone = ", ".join(f"{number}/{first['of']}" for number in sorted(absent))
        raise RecordError(None, None, f"no shard {gone} is named", "name the folders of all parts")


def _differences(one: Record, other: Record) -> dict[str, list[str]]:
    def of(run: Record, *names: str) -> dict[str, Any]:
        return {name: run.get(name) for name in names}

    def options(run: Record) -> dict[str, Any]:
        given = {k: v for k, v in mapping(run.get("options")).items() if k not in OWN}
        return {**of(run, "gate", "matrix", "effort", "seed"), **given}

    pairs = {
        "commit": [of(run, "commit", "dirty") for run in (one, other)],
        "policy": [of(run, "policy_sha256") for run in (one, other)],
        "machine": [machine.deciding(run) for run in (one, other)],
        "software": [machine.software(run) for run in (one, other)],
        "options": [options(run) for run in (one, other)],
    }
    return {kind: machine.differing(*pair) for kind, pair in pairs.items()}


def _header(runs: list[Record], paths: list[Path]) -> Record:
    """The run's own record: what is the same from the first shard, the rest from all."""
    first = min(runs, key=lambda run: run.get("started") or "")
    models: Record = {}
    for path, run in zip(paths, runs, strict=True):
        for name, model in mapping(run.get("models")).items():
            kept = models.setdefault(name, model)
            if kept.get("sha256") != model.get("sha256"):
                what = f"the baseline model {name} has other weights than in another shard"
                raise RecordError(path, None, what, "share one cache, or train it on one machine")
            kept["score"] = {**mapping(kept.get("score")), **mapping(model.get("score"))}
    every = lambda name: [one for run in runs for one in listing(run.get(name))]  # noqa: E731
    counted = [run["selected_cells"] for run in runs if run.get("selected_cells") is not None]
    warnings = [run["aa_warning"] for run in runs if run.get("aa_warning")]
    artifacts = {k: v for run in runs for k, v in mapping(run.get("artifacts")).items()}
    return {
        **first,
        "finished": max((run.get("finished") or "" for run in runs), default=None) or None,
        "seconds": round(sum(run.get("seconds") or 0.0 for run in runs), 1),
        "targets": sorted(set(every("targets"))),
        "models": models,
        "aa": _controls(every("aa")),
        "contaminated": any(run.get("contaminated") for run in runs),
        "aa_warning": "; ".join(dict.fromkeys(warnings)) or None,
        "notices": sorted(set(every("notices"))),
        "waited_s": _sums(mapping(run.get("waited_s")) for run in runs),
        "artifacts": artifacts,
        "selected_cells": sum(counted) if len(counted) == len(runs) else None,
        "options": {k: v for k, v in mapping(first.get("options")).items() if k not in OWN},
        "history": _compared([run["history"] for run in runs if run.get("history")]),
        "shard": None,
        "shards": [run["run"] for run in runs],
    }


def _compared(told: list[Record]) -> Record | None:
    """What shards said beside the accepted run: missing is what every one of them lacks."""
    if not told:
        return None
    every = lambda name: [one for part in told for one in listing(part.get(name))]  # noqa: E731
    missing = [
        cell
        for cell in listing(told[0].get("missing"))
        if all(cell in listing(part.get("missing")) for part in told)
    ]
    renamed = {k: v for part in told for k, v in mapping(part.get("renamed")).items()}
    return {
        **told[0],
        "compared": sum(part["compared"] for part in told),
        "missing": missing,
        "renamed": {old: new for old, new in renamed.items() if old in missing},
        **{name: list(dict.fromkeys(every(name))) for name in ("new", "errored", "gains")},
    }


def _controls(cells: list[Record]) -> list[Record]:
    """The A/A cells of all shards; of a model that several timed, the furthest from 1."""
    kept: dict[str, Record] = {}
    for cell in cells:
        name = json.dumps([cell.get("of"), cell["model"], cell["target"]])
        other = kept.setdefault(name, cell)
        if abs((cell.get("value") or 1) - 1) > abs((other.get("value") or 1) - 1):
            kept[name] = cell
    return list(kept.values())


def _sums(parts: Iterable[Record]) -> Record:
    found: Record = {}
    for part in parts:
        for name, value in part.items():
            found[name] = round(found.get(name, 0.0) + (value or 0.0), 1)
    return found


def _triaged(verdicts: list[Record]) -> list[Record]:
    """The verdicts with false discovery rates over all shards' gates (see gauge.triage)."""
    from scipy.stats import false_discovery_control

    places = [
        number for number, one in enumerate(verdicts) if mapping(one.get("evidence")).get("triage")
    ]
    if not places:
        return verdicts
    p_values = [verdicts[place]["evidence"]["triage"]["p"] for place in places]
    for place, p, q in zip(places, p_values, false_discovery_control(p_values), strict=True):
        told = {"p": p, "q": float(q), "of": len(places)}
        verdicts[place]["evidence"] = {**verdicts[place]["evidence"], "triage": told}
    return verdicts


def write(found: Records, folders: Iterable[Path], out: Path) -> Path:
    """Write the merged records and every shard's samples into a folder; returns the record file."""
    for folder in folders:
        for path in sorted((folder / "samples").glob("*.npz")):
            (out / "samples").mkdir(parents=True, exist_ok=True)
            target = out / "samples" / path.name
            if path != target:
                shutil.copyfile(path, target)
    return records.write(out / records.FILE, found.run, found.verdicts)
