"""A comparison in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from reports import formats, names
from reports.history.compare import (
    BETTER,
    RATIOS,
    REPORTED,
    UNCLEAR,
    WORSE,
    Change,
    Comparison,
)
from reports.history.index import Row

MOST = 20
"""Lines of one kind before the rest is counted only."""

_DROP = formats.POINTS


def lines(found: Comparison, every: bool = False) -> Iterable[str]:
    """The comparison, a line at a time; `every`: nothing is left out."""
    most = 10**9 if every else MOST
    yield f"{_run(found.old.run)}, then {_run(found.new.run)}"
    if found.machine:
        yield "NO_BASELINE: the machines differ, so nothing is compared:"
        yield from (f"  {line}" for line in found.machine)
        return
    yield from _software(found.software)
    for model, why in found.unpaired.items():
        yield f"{model}: {why}; nothing of it is paired"
    yield from _listed("worse", [change(one) for one in found.of(WORSE)], most)
    yield from _listed("better", [change(one) for one in found.of(BETTER)], most)
    yield from _listed("too noisy to tell", [change(one) for one in found.of(UNCLEAR)], most)
    turned = [f"{gate(row)}: {old.status}, then {row.status}" for old, row in found.turned]
    yield from _listed("judged otherwise", turned, most)
    yield from _listed("measured before, and now refused or failed", found.errored, most)
    again = dict(found.renamed)
    told = [f"{one} (renamed to {again[one]}?)" if one in again else one for one in found.missing]
    yield from _listed("missing", told, most)
    yield from _listed("new", found.added, most)
    alone = [
        f"{why}: {names.plain(cells[0])}" + (f" and {len(cells) - 1} more" if cells[1:] else "")
        for why, cells in found.alone.items()
    ]
    yield from _listed("not paired", alone, most)
    yield total(found)


def total(found: Comparison) -> str:
    """One sentence: how many pairs, and what became of them."""
    if not found.changes:
        return "0 pairs compared: that says nothing, and counts as a failure"
    worse, better, unclear = (len(found.of(word)) for word in (WORSE, BETTER, UNCLEAR))
    return (
        f"{formats.count(len(found.changes), 'pair')} compared: {worse} worse, {better} better, "
        f"{unclear} too noisy to tell; {len(found.missing)} cells missing, {len(found.added)} new"
    )


def change(one: Change) -> str:
    """One change: `resnet18-onnxruntime-cpu speed b1: 4.10×, then 3.20× (0.78 [0.76, 0.80])`."""
    where = gate(one.row)
    if one.row.gate not in RATIOS:
        numbers = f"{_DROP(one.change)} [{_DROP(one.low)}, {_DROP(one.high)}]"
        return f"{where}: score {one.old:.4f}, then {one.new:.4f}: drop {numbers}; {one.text}"
    inside = ""
    if one.low is not None and one.high is not None:
        inside = f" [{_factor(one.low)}, {_factor(one.high)}]"
    before, after = formats.FACTOR(one.old), formats.FACTOR(one.new)
    only = " (reported, not gated)" if one.row.status == REPORTED else ""
    return f"{where}: {before}, then {after}: {_factor(one.change)} of it{inside}{only}"


def _factor(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.3g}"


def gate(row: Row) -> str:
    """A cell's gate in words."""
    batch = "" if row.batch is None else f" b{row.batch}"
    return f"{names.plain(row.cell)} {row.gate}{batch}"


def _run(run: dict[str, object]) -> str:
    commit = str(run.get("commit") or "no commit")[:12]
    return f"{run['run']} ({commit}{'+changes' if run.get('dirty') else ''})"


def _software(found: list[str]) -> Iterable[str]:
    if found:
        yield f"software changed: {'; '.join(found)}"


def _listed(title: str, found: list[str], most: int) -> Iterable[str]:
    if found:
        yield f"{title} ({len(found)}):"
        yield from (f"  {line}" for line in found[:most])
        if len(found) > most:
            yield f"  … and {len(found) - most} more (--all shows them)"
