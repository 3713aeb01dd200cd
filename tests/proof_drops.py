"""Injected accuracy drops, as a piece of the proof: what tests/proof_accuracy.py computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import proof_accuracy
import proof_accuracy_zoo
from proof_tables import cell, percent, share, table

Line = dict[str, Any]
NAME = "drops"
FIRST = 1
PARTS = {"sizes": 10_000, "powers": 100_000, "grouped": 10_000, "scores": 400, "end_to_end": 5}
"""Each part with its runs of a row in one batch."""

TOLD = {
    "sizes": "independent samples, a true drop at the limit",
    "grouped": "samples in groups, a true drop at the limit",
    "scores": "scores that are not right or wrong, a true drop at the limit",
    "powers": "drops of 0, 0.5, 1 and 2 points against a limit of 1",
}
SETTINGS = {"parts": PARTS}
COUNTS = ("passed", "failed", "of")
RATES = ("pass", "fail")


def run(
    seed: int,
    count: int,
    *,
    done: Sequence[Line] = (),
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Line]:
    """`count` batches of every part; a line each."""
    wanted = [(batch, part) for batch in range(count) for part in PARTS]
    for batch, part in wanted[len(done) :]:
        if not go_on():
            return
        where = proof_accuracy_zoo if part == "end_to_end" else proof_accuracy
        found = getattr(where, part)(seed * 1_000 + batch, PARTS[part])
        yield {"part": part, "batch": batch, **found}


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """Rows pooled over batches, with intervals; the row of each part that errs most."""
    found: dict[str, Any] = {}
    for part in TOLD:
        some = [one for one in lines if one["part"] == part]
        if some:
            rows = _pooled(some)
            found[part] = {"goal": some[0]["goal"], "kept": all(one["kept"] for one in some)}
            found[part] |= {key: max((row[key] for row in rows), key=_rate) for key in COUNTS[:2]}
            found[part]["rows"] = rows
    ends = [one for one in lines if one["part"] == "end_to_end"]
    rows = [row for one in ends for row in one["rows"]]
    agreed = sum(row["status"] == row["expected"] for row in rows)
    return {"parts": found, "end_to_end": share(agreed, len(rows))}


def _rate(found: dict[str, Any]) -> float:
    return found["count"] / found["of"] if found["of"] else 0.0


def _pooled(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The rows of several batches, counts of the same row added."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in lines:
        for row in one["rows"]:
            named = {key: value for key, value in row.items() if key not in COUNTS + RATES}
            kept = sums.setdefault(tuple(named.items()), {**named, **dict.fromkeys(COUNTS, 0)})
            for key in COUNTS:
                kept[key] += row[key]
            # Exact probabilities are the same in every batch; simulated rates are pooled anew.
            kept |= {f"computed_{key}": row[key] for key in RATES if one["part"] == "powers"}
    for row in sums.values():
        of = row.pop("of")
        row |= {key: share(row[key], of) for key in COUNTS[:2]}
    return list(sums.values())


def page(found: dict[str, Any]) -> list[str]:
    """The piece's part of docs/proof.md."""
    parts = found["parts"]
    worst = [
        [told, parts[part]["goal"], "yes" if parts[part]["kept"] else "NO", str(len(rows))]
        + [cell(parts[part][key]) for key in COUNTS[:2]]
        for part, told in TOLD.items()
        if part in parts and part != "powers" and (rows := parts[part]["rows"])
    ]
    powers = [
        [
            percent(row["drop"], 1),
            percent(row["share"], 1),
            percent(row["computed_pass"]),
            cell(row["passed"]),
            percent(row["computed_fail"]),
            cell(row["failed"]),
        ]
        for row in parts.get("powers", {}).get("rows", ())
    ]
    return [
        "## Injected accuracy drops",
        "",
        "At the limit itself both answers are errors; of all rows (sizes, limits, shares of"
        " differing samples) the worst one is told. A worst row of many lies above its true rate by"
        " selection. Samples in groups are claimed up to the correlation that the goal names, and"
        " the worst row may lie beyond it.",
        "",
        *table(["what", "goal", "kept", "rows", "worst PASS", "worst FAIL"], worst),
        "",
        f"{TOLD['powers']}, 2,000 samples:",
        "",
        *table(
            ["drop", "differing", "PASS, computed", "PASS", "FAIL, computed", "FAIL"],
            powers,
        ),
        "",
        "A model made to answer a share of its inputs wrongly, through the whole suite: verdicts"
        f" that are the rule's for what was counted, {cell(found['end_to_end'])}.",
    ]
