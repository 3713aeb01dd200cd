"""Write a waiver into policy.toml for a gate that fails, and print what was written.

CELL and GATE are as a verdict shows them: `vit-openvino-cpu speed-b1`. The waiver names exactly
that gate of that cell, holds until --expires, and only as long as the value keeps --floor. While it
holds the verdict is WAIVED: no failure, in a release too. When it has expired, is no longer needed
or covers nothing, nightly runs warn and a release fails.
"""

from __future__ import annotations

import argparse
import datetime
import math
import shutil
from pathlib import Path

from gauge.policy import Known, Policy, PolicyError
from gauge.policy_entry import DIRECTIONS
from reports import formats, policy_text, records
from reports.limits import capabilities, facts_of
from reports.records import Record, RecordError, Records

WAIVABLE = ("FAIL", "INCONCLUSIVE")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cell", metavar="CELL", help="the cell's id, such as vit-openvino-cpu")
    parser.add_argument("gate", metavar="GATE", help="accuracy, size, speed-b1, …")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why it may fail")
    parser.add_argument("--issue", metavar="TEXT", required=True, help="where it is worked on")
    parser.add_argument("--owner", metavar="NAME", required=True, help="who answers for it")
    parser.add_argument(
        "--expires", metavar="DATE", required=True, help="the last day it holds: 2027-01-31"
    )
    parser.add_argument(
        "--floor", metavar="NUMBER", help="the worst value it may have; evidence and reload: none"
    )
    parser.add_argument(
        "--records",
        metavar="DIR",
        type=Path,
        default=Path("reports/out"),
        help="the run in which it failed (default: reports/out)",
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        default=Path("policy.toml"),
        help="the policy to write into (default: policy.toml)",
    )
    parser.add_argument(
        "--optional", action="store_true", help="its names are a plug-in's, which may be absent"
    )


def run(options: argparse.Namespace) -> int:
    found = records.read(options.records)
    verdict = _verdict(found, options.cell, options.gate)
    try:
        policy = Policy.read(options.policy, Known.anything())
        _new(policy, found.run, verdict)
        text = policy_text.read(options.policy)
        changed = policy_text.with_entry(text, "waiver", _fields(options, verdict))
        path = options.policy.resolve()
        aside = path.with_name(f".{path.name}.waive")
        try:
            aside.write_bytes(changed.encode())
            shutil.copymode(path, aside)
            # As the suites will read it: two waivers for one cell are an error there.
            Policy.read(aside, Known.anything()).check([facts_of(verdict)], [verdict["batch"] or 1])
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except PolicyError as error:
        raise RecordError(None, None, str(error), "mend it first") from error
    print(policy_text.diff(options.policy, text, changed), end="")
    return 0


def _verdict(found: Records, cell: str, gate: str) -> Record:
    """The verdict to waive; RecordError where there is none, or it is none to be waived."""
    ours = {_gate(one): one for one in found.verdicts if _id(one) == cell}
    run = found.run["run"]
    if not ours:
        ids = list(dict.fromkeys(map(_id, found.verdicts)))
        near = [one for one in ids if one.partition("-")[0] == cell.partition("-")[0]] or ids
        more = f" and {len(near) - 6} more" if len(near) > 6 else ""
        advice = f"there are: {', '.join(near[:6])}{more}"
        raise RecordError(None, None, f"the run {run} has no cell {cell!r}", advice)
    if gate not in ours:
        raise RecordError(
            None, None, f"{cell} was not asked for {gate!r}", f"there are: {', '.join(ours)}"
        )
    verdict = ours[gate]
    if verdict["status"] not in WAIVABLE:
        why = {"ERROR": ", which measured nothing, so no floor can be kept"}
        what = f"{cell} {gate} is {verdict['status']}{why.get(verdict['status'], '')}"
        raise RecordError(None, None, what, f"only {' and '.join(WAIVABLE)} can be waived")
    return verdict


def _new(policy: Policy, run: Record, verdict: Record) -> None:
    """RecordError where the policy has a waiver for exactly this already."""
    facts, batch = facts_of(verdict), verdict.get("batch")
    flags = capabilities(run, facts.target)
    there = policy.waiver(facts, verdict["gate"], batch, flags)
    exact = {"model", "technique", "target"}
    if there is not None and exact <= {key for key, _ in there.match.keys}:
        what = (
            f"{there.source} waives {_id(verdict)} {_gate(verdict)} until {there.expires} already"
        )
        raise RecordError(None, None, what, "change that entry")


def _fields(options: argparse.Namespace, verdict: Record) -> dict[str, policy_text.Value]:
    cell, gate, batch = verdict["cell"], verdict["gate"], verdict.get("batch")
    fields: dict[str, policy_text.Value] = {"gate": gate, **cell}
    fields = {key: fields[key] for key in ("gate", "model", "technique", "target")}
    if batch is not None:
        fields["batch"] = batch
    for key in ("reason", "issue", "owner"):
        fields[key] = " ".join(getattr(options, key).split())
        if not fields[key]:
            raise RecordError(None, None, f"an empty --{key}", "say it in words")
    fields["expires"] = _date(options.expires)
    if gate in DIRECTIONS or options.floor is not None:
        fields["floor"] = _floor(options.floor, verdict)
    if options.optional:
        fields["optional"] = True
    return fields


def _date(text: str) -> datetime.date:
    try:
        date = datetime.date.fromisoformat(text)
    except ValueError:
        advice = "write a day as 2027-01-31"
        raise RecordError(None, None, f"--expires {text!r}", advice) from None
    if date < datetime.date.today():
        raise RecordError(None, None, f"--expires {text}, a day that is past", "name a later one")
    return date


def _floor(text: str | None, verdict: Record) -> float:
    """The floor as a number, which the measured value keeps."""
    way = DIRECTIONS.get(verdict["gate"], "min")
    measured = f"measured: {formats.measured(verdict)}"
    side = "at least that" if way == "max" else "at most that"
    if text is None:
        raise RecordError(None, None, f"no --floor ({measured})", f"name one, {side}")
    try:
        floor = float(text)
    except ValueError:
        floor = math.nan
    if not (math.isfinite(floor) and floor >= 0):
        raise RecordError(None, None, f"--floor {text!r}", "write a number such as 0.9")
    value = verdict.get("value")
    if value is None:
        what = "a gate without a number, which keeps no floor"
        raise RecordError(None, None, what, "it cannot be waived")
    if not (value <= floor if way == "max" else value >= floor):
        what = f"--floor {floor:g} is not kept ({measured})"
        raise RecordError(None, None, what, f"name one that is, {side}")
    return floor


def _id(verdict: Record) -> str:
    return "-".join(records.cell_key(verdict["cell"]))


def _gate(verdict: Record) -> str:
    batch = verdict.get("batch")
    return verdict["gate"] if batch is None else f"{verdict['gate']}-b{batch}"
