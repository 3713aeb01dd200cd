"""Planted faults, as a piece of the proof: what tests/proof_faults.py plants."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import proof_faults
from proof_tables import cell, share, table

Line = dict[str, Any]
NAME = "faults"
FIRST = 1
SETTINGS: dict[str, Any] = {}


def run(
    seed: int,
    count: int,
    *,
    done: Sequence[Line] = (),
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Line]:
    """All faults `count` times, placed and sized anew each time; a line a fault."""
    for batch in range(1 + max((one["batch"] for one in done), default=-1), count):
        if not go_on():
            return
        with tempfile.TemporaryDirectory(prefix="optgauge-proof-") as folder:
            # Faults of speed meet the timing gates, the others need none of that time.
            found = proof_faults.run(seed * 1_000 + batch, None, Path(folder), times=False)
        for one in found:
            yield {"batch": batch, **one}


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """How many faults were caught, those that were not, and one example of each."""
    last = {one["fault"]: one for one in lines}
    clean = sum(one["off"]["status"] == "PASS" for one in lines)
    return {
        "faults": len(last),
        "caught": share(sum(one["caught"] for one in lines), len(lines)),
        "clean_passed": share(clean, len(lines)),
        "missed": sorted({one["fault"] for one in lines if not one["caught"]}),
        "examples": [{"fault": name, **one["on"]} for name, one in sorted(last.items())],
    }


def page(found: dict[str, Any]) -> list[str]:
    """The piece's part of docs/proof.md."""
    rows = [
        [one["fault"], one["status"], one["gate"] or "", _short(one["reason"] or "")]
        for one in found["examples"]
    ]
    return [
        "## Planted faults",
        "",
        f"{found['faults']} faults in techniques and harness, each a small plug-in placed and sized"
        " by chance. Caught is a verdict that is not PASS with a reason that names the cause, while"
        " the same plug-in without its fault passes (goal: every one). Both meet every gate, but"
        " only faults that have to do with time meet the speed gate.",
        "",
        f"- caught: {cell(found['caught'])}",
        f"- the same without its fault passes: {cell(found['clean_passed'])}",
        f"- missed: {', '.join(found['missed']) or 'none'}",
        "",
        *table(["fault", "verdict", "gate", "reason"], rows),
    ]


def _short(reason: str) -> str:
    text = reason.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 160 else f"{text[:159]}…"
