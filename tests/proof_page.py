"""docs/proof.md and docs/proof.json from what the proof has measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from proof_store import Store

from reports import formats, records

INTRO = """\
# The proof

Made by `tox -e proof`; edit nothing here by hand. `docs/proof.json` holds the same numbers, and
`docs/proof/` every line they come from.

A gate is worth what its error rates are. Each part below is a count of right and wrong answers
where the right one is known, with the exact 95 % interval (Clopper and Pearson, 1934) in brackets.
A goal is met when the rate keeps it; it is shown when the whole interval does. With no error in
n gates, the rate is at most 3 / n with 95 % confidence one-sided: 2,995 gates show 1 in 1,000.

To run it again: `tox -e proof` does the first part of every piece, and
`tox -e proof -- --piece aa --count 2995 --minutes 60` goes on with one for an hour; stopped runs
go on where they were. Speed needs a machine that does nothing else. The models are small and drawn
at random (`tests/proof_models.py`), timed by the suites' own workers, jobs, rounds and judge, with
0.3 s a process unless told otherwise, where the suites take 0.6 s: shorter processes are noisier,
which makes gates undecided more often and no error likelier.

Not claimed: that another machine is as quiet as the one named, that noise which stays the same
over a whole run and favours one arm is seen by anything but the A/A cells, and anything about a
GPU. Gates that share processes are counted each by itself, and are not independent.
"""


def write(folder: Path, stores: Mapping[ModuleType, Store]) -> list[Path]:
    """Render both files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {piece: _piece(piece, store) for piece, store in stores.items()}
    text = json.dumps(
        {"schema": 1, "pieces": {piece.NAME: one for piece, one in found.items()}},
        indent=1,
        allow_nan=False,
    )
    paths = [folder / "proof.md", folder / "proof.json"]
    records.replace(paths[0], page(found).encode("utf-8"))
    records.replace(paths[1], f"{text}\n".encode())
    return paths


def _piece(piece: ModuleType, store: Store) -> dict[str, Any]:
    """What one piece found; its result is None with a reason where nothing was measured."""
    counts = [
        sum(line["sitting"] == one["sitting"] for line in store.lines) for one in store.sittings
    ]
    sittings = [{**one, "lines": count} for one, count in zip(store.sittings, counts, strict=True)]
    told = {"settings": store.settings, "sittings": sittings, "lines": len(store.lines)}
    if not store.lines:
        return {**told, "result": None, "reason": "not measured yet"}
    return {**told, "result": piece.summary(store.lines)}


def page(found: Mapping[ModuleType, dict[str, Any]]) -> str:
    """docs/proof.md."""
    parts = [INTRO]
    for piece, one in found.items():
        if one["result"] is None:
            parts.append(f"## {piece.NAME}\n\nNot measured yet.\n")
            continue
        lines = [*piece.page(one["result"]), "", *_sittings(one["sittings"])]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _sittings(sittings: list[dict[str, Any]]) -> list[str]:
    """When and where the lines were measured; sittings alike but for their time are one item."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in sittings:
        groups.setdefault(_where(one), []).append(one)
    return [
        f"- {_span([one['started'] for one in some])}, "
        f"{sum(one['lines'] for one in some)} lines: {where}"
        for where, some in groups.items()
    ]


def _span(started: list[str]) -> str:
    first, last = formats.moment(min(started)), formats.moment(max(started))
    return first if len(started) == 1 else f"{first} to {last} ({len(started)} sittings)"


def _where(one: Mapping[str, Any]) -> str:
    machine = one["machine"]
    versions = ", ".join(f"{name} {told}" for name, told in one["versions"].items() if told)
    commit = "no commit" if one["commit"] is None else f"commit `{one['commit'][:12]}`"
    return (
        f"{machine['cpu']}, {machine['cpus']} of {machine['cores']} cores, "
        f"{machine['threads']} thread, {formats.size(machine['memory_bytes'])}, "
        f"{machine['kernel']}, Python {machine['python']}, {versions}, "
        f"{commit}{' with changes' if one['dirty'] else ''}"
    )
