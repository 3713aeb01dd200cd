"""List the runs of a history, newest last.

A star marks the run that is the baseline of its machine class.
"""

from __future__ import annotations

import argparse

from reports import formats
from reports.cells import SEVERITY
from reports.commands import _history
from reports.history import machine
from reports.plain import mapping

_SHORT = {"NO_EXPECTATION": "no limit", "NO_BASELINE": "no baseline"}


def arguments(parser: argparse.ArgumentParser) -> None:
    _history.option(parser)
    parser.add_argument("--last", metavar="N", type=int, default=20, help="how many (default: 20)")


def run(options: argparse.Namespace) -> int:
    index = _history.read(options.history)
    history = index.history
    assert history is not None
    shown = list(history.runs.items())[-max(1, options.last) :]
    counts = index.counts([name for name, _ in shown])
    accepted = {one.run for one in history.accepted.values()}
    for name, header in shown:
        told = ", ".join(
            f"{counts[name][status]} {_SHORT.get(status, status)}"
            for status in reversed(SEVERITY)
            if counts.get(name, {}).get(status)
        )
        cpu = mapping(header.get("machine")).get("cpu") or "machine not known"
        print(
            f"{'*' if name in accepted else ' '} {name}  {formats.moment(header.get('started'))}  "
            f"{str(header.get('commit') or 'no commit')[:12]:12}  "
            f"{machine.class_of(header)} ({cpu})  {told}"
        )
    if not shown:
        print(f"{options.history} holds no run yet: pytest suites/ --history {options.history}")
    elif len(shown) < len(history.runs):
        print(f"{len(history.runs) - len(shown)} older runs are not shown (--last N)")
    _history.warn(index)
    return 0
