"""Planted faults: each gets a verdict that is not PASS, for a reason that names it.

`run(seed, names, folder)` plants the named faults (all when None), each placed and sized by the
seed, in a few runs of `pytest suites/`, together with the same techniques without their faults.
From a shell: PYTHONPATH=. python tests/proof_faults.py --seed 1 [NAME…]; a line of JSON a fault.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import random
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import caches
from faults.table import FAULTS, Fault
from running import Ran, suites

FOLDER = Path(__file__).resolve().parent / "faults"
ORDER = ("ERROR", "FAIL", "INCONCLUSIVE", "NO_BASELINE", "REFUSED", "NO_EXPECTATION", "PASS")
LIMITS = {
    "": ("--cell-timeout=120", "--cell-memory=4"),
    "limits": ("--cell-timeout=15", "--cell-memory=1.5"),
}


def run(
    seed: int, names: list[str] | None, folder: Path, *, times: bool = True
) -> list[dict[str, Any]]:
    """Plant faults and tell of each whether it was caught.

    names: globs of the faults' names, None for all. folder: for reports and caches; kept. times:
    False leaves the speed gate out, of faults and of what has none, where another gate decides.

    Returns {"fault", "seed", "model", "on": {"status", "gate", "reason"}, "off": {"status",
    "gate", "reason"}, "caught"} of each, in the table's order. caught: with the fault the cell's
    status is not PASS and a reason names it; without, every gate passes.
    Raises ValueError for a name that is no fault's.
    """
    chosen = [one for one in FAULTS if names is None or _named(one.name, names)]
    known = [one.name for one in FAULTS] + list(caches.FAULTS)
    for name in names or ():
        if not fnmatch.filter(known, name):
            raise ValueError(f"no fault is called {name!r}; there are: {', '.join(known)}")
    found: list[dict[str, Any]] = []
    for number, group in enumerate(_groups(chosen)):
        ran = _run_group(seed, group, folder, f"{number}-{group[0].model}", times)
        found += [_told(ran, one, seed) for one in group]
    seeds = {one: place(seed, one) for one in caches.FAULTS if names is None or _named(one, names)}
    if seeds:
        found += caches.plant(seeds, folder)
    order = {name: number for number, name in enumerate(known)}
    return sorted(found, key=lambda one: order[one["fault"]])


def place(seed: int, name: str) -> int:
    """The number that places and sizes one fault."""
    return random.Random(f"{seed} {name}").randrange(10_000)


def _named(name: str, names: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, one) for one in names)


@dataclass(frozen=True)
class _Words:
    on: str
    off: str


def _words(fault: Fault, seed: int) -> _Words:
    number = place(seed, fault.name)
    stage = f":{fault.stage}" if fault.stage else ""
    # A cell's name leaves a word at the end out where it is the default.
    shown = "" if fault.stage == "apply" else stage
    return _Words(
        f"{fault.technique}:true:{number}{shown}", f"{fault.technique}:false:{number}{shown}"
    )


def _groups(faults: Iterable[Fault]) -> list[list[Fault]]:
    """Faults that can share a run: the same model, limits of a worker, and gates to see them."""
    groups: dict[tuple[str, str, bool], list[Fault]] = {}
    for one in faults:
        groups.setdefault((one.model, one.limits, one.timed), []).append(one)
    return list(groups.values())


def _run_group(seed: int, group: list[Fault], folder: Path, name: str, times: bool) -> Ran:
    words = [_words(one, seed) for one in group]
    techniques = [word for one in words for word in (one.on, one.off)]
    left_out = "speed and true" if times else "speed"
    return suites(
        folder / name,
        folder / "cache",
        *[f"--plugin={path}" for path in plugins()],
        f"--policy={FOLDER / 'policy.toml'}",
        f"--model={group[0].model}",
        *[f"--technique={one}" for one in techniques],
        "--batch=1",
        "--effort=quick",
        *([] if group[0].timed else ["-k", f"not ({left_out})"]),
        *LIMITS[group[0].limits],
        environment=environment(),
    )


def plugins() -> list[Path]:
    """The plug-in files, in a fixed order."""
    kinds = ("weights", "claims", "habits", "speed", "stages", "artifacts", "data")
    return [FOLDER / f"{kind}.py" for kind in kinds]


def environment() -> dict[str, str]:
    """What lets the plug-ins import what they share."""
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{FOLDER}:{path}" if path else str(FOLDER)}


def _told(ran: Ran, fault: Fault, seed: int) -> dict[str, Any]:
    words = _words(fault, seed)
    on = _gates(ran, f"{fault.model}-{words.on}-cpu")
    off = _gates(ran, f"{fault.model}-{words.off}-cpu")
    naming = [one for one in on if one["status"] != "PASS" and _names(fault, one)]
    found = naming[0] if naming else on[0]
    return {
        "fault": fault.name,
        "seed": place(seed, fault.name),
        "model": fault.model,
        "on": found,
        "off": off[0],
        "caught": bool(naming) and off[0]["status"] == "PASS",
    }


def _names(fault: Fault, gate: dict[str, Any]) -> bool:
    return re.search(fault.reason, gate["reason"] or "") is not None


def _gates(ran: Ran, cell: str) -> list[dict[str, Any]]:
    """Status, gate and reason of each gate of a cell, worst first."""
    verdicts = ran.verdicts(cell)
    if not verdicts:
        raise RuntimeError(f"the run tells nothing of {cell}\n{ran.output}")
    told = [
        {"status": one["status"], "gate": gate, "reason": one["reason"]}
        for gate, one in verdicts.items()
    ]
    return sorted(told, key=lambda one: ORDER.index(one["status"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="globs of faults; all without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-times", action="store_true", help="where other gates decide")
    parser.add_argument("--folder", type=Path, help="for reports and caches; kept")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="optgauge-faults-"))
    found = run(asked.seed, asked.names or None, folder, times=not asked.without_times)
    for one in found:
        print(json.dumps(one, ensure_ascii=False))
    missed = [one["fault"] for one in found if not one["caught"]]
    print(f"{len(found) - len(missed)} of {len(found)} caught; {folder}")
    raise SystemExit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
