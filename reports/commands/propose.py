"""Print a diff of policy.toml that tightens limits to what the last runs reach.

A limit that names a model, technique or family is proposed anew where it could be tighter and still
be decided: at least max(3 %, 2.5 σ) from what each of its cells usually reaches, and kept for
certain by every run looked at. Limits that name none of them say what a product may cost, and are
left alone. Nothing is written: `python -m reports propose > tighter.diff`, read it, then
`git apply tighter.diff`.

Only tightens. To loosen an entry name its line and say why: --loosen 418 --reason "…". The reason
is written into the entry, before the one it had.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
import tomllib
from pathlib import Path

from gauge.policy import Known, Policy, PolicyError
from reports import formats, limits, policy_text, runs
from reports.records import RecordError

WINDOW = 3
"""How many times as many runs are looked at, since not every run measures every cell."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        metavar="RUN",
        nargs="*",
        type=Path,
        help="folders that --report wrote, or folders of such (default: that of --history)",
    )
    parser.add_argument(
        "--history", metavar="DIR", type=Path, help="the history's folder (default: history)"
    )
    parser.add_argument(
        "--runs",
        metavar="N",
        type=int,
        default=10,
        help="how many runs must have measured a cell; its last N count (default: 10)",
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        default=Path("policy.toml"),
        help="the policy to change (default: policy.toml)",
    )
    parser.add_argument(
        "--loosen",
        metavar="LINE",
        action="append",
        default=[],
        help="an entry that may become looser, by its line (repeatable); takes --reason",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why, for --loosen")


def run(options: argparse.Namespace) -> int:
    loosen = [_line(text) for text in options.loosen]
    reason = " ".join((options.reason or "").split())
    if bool(loosen) != bool(reason):
        what = "--loosen without --reason" if loosen else "--reason without --loosen"
        raise RecordError(None, None, what, "say which lines may be looser, and why")
    if options.runs < 2:
        raise RecordError(None, None, f"--runs {options.runs}", "name 2 or more")
    try:
        policy = Policy.read(options.policy, Known.anything())
    except PolicyError as error:
        raise RecordError(None, None, str(error), "mend the policy first") from error
    text = policy_text.read(options.policy)
    loosen = [_header(text, line) for line in loosen]
    paths = [*options.paths, *([options.history] if options.history else [])]
    files = runs.find(paths or [Path("history")])
    read, problems = runs.newest(files, WINDOW * options.runs)
    for problem in problems:
        print(f"warning: left out: {problem}", file=sys.stderr)
    if len(read) < options.runs:
        what = f"{formats.count(len(read), 'complete run')} where --runs asks for {options.runs}"
        raise RecordError(None, None, what, "name more runs, or ask for fewer")
    try:
        found = limits.propose(policy, read, options.runs, loosen)
    except PolicyError as error:
        raise RecordError(None, None, str(error), "mend the policy first") from error
    changed = _changed(text, found.proposals, loosen, reason)
    for one in found.proposals:
        print(one.text, file=sys.stderr)
    if found.left:
        lines = ", ".join(map(str, found.left))
        print(f"left alone, measured in fewer runs: line {lines}", file=sys.stderr)
    for line in sorted(set(loosen) - {one.line for one in found.proposals}):
        print(f"line {line}: kept by every run: nothing to loosen", file=sys.stderr)
    if not found.proposals:
        print("nothing to change", file=sys.stderr)
    sys.stdout.write(policy_text.diff(options.policy, text, changed))
    return 0


def _line(text: str) -> int:
    match = re.fullmatch(r"(?:.*:)?([1-9][0-9]{0,8})", text)
    if match is None:
        advice = "name the entry's line as verdicts show it: 418, or policy.toml:418"
        raise RecordError(None, None, f"--loosen {text!r}", advice)
    return int(match[1])


def _header(text: str, line: int) -> int:
    """The line of the header of the limit that a line is in."""
    try:
        return policy_text.place(text, "limit", line)[1].line
    except LookupError as error:
        advice = "name the line of a [[limit]] or of one of its keys"
        raise RecordError(None, None, f"--loosen: {error}", advice) from error


def _changed(text: str, proposals: list[limits.Proposal], loosen: list[int], reason: str) -> str:
    # From the last up: a reason of several lines becomes one, and moves what stands below it.
    for one in sorted(proposals, key=lambda one: one.line, reverse=True):
        if one.line in loosen:
            old = _reason(text, one.line)
            today = datetime.date.today()
            said = f"{reason} (loosened from {one.old:g} on {today}); {old}"
            text = policy_text.with_value(text, "limit", one.line, "reason", said)
        text = policy_text.with_value(text, "limit", one.line, one.key, one.new)
    return text


def _reason(text: str, line: int) -> str:
    index, _ = policy_text.place(text, "limit", line)
    return " ".join(tomllib.loads(text)["limit"][index]["reason"].split())
