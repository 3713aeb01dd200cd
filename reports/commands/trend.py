"""Show how a technique on a model developed over the runs of a history.

A sparkline, then a line a run: the ratio to FP32 with its interval, and beside it the bare times,
which differ from machine to machine and are not compared. Steps (change points, with their size and
how likely they are chance) are marked, and so is what changed with a run: library versions, or the
baseline's weights. Only runs of one machine class are shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reports.commands import _history
from reports.history import trend, trend_picture
from reports.records import RecordError

SIZED = ("speed", "memory")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the model's name")
    parser.add_argument("technique", metavar="TECHNIQUE", help="the technique, with its parameters")
    _history.option(parser)
    parser.add_argument("--target", metavar="NAME", help="only this target")
    parser.add_argument(
        "--gate", choices=trend.GATES, default="speed", help="which number (default: speed)"
    )
    parser.add_argument(
        "--batch", metavar="N", type=int, default=1, help="of speed and memory (default: 1)"
    )
    parser.add_argument(
        "--machine", metavar="CLASS", help="a machine class, as `list` shows (default: the last's)"
    )
    parser.add_argument(
        "--last", metavar="N", type=int, default=30, help="list this many runs (default: 30)"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="write a picture too: FILE.svg, or FILE.html"
    )


def run(options: argparse.Namespace) -> int:
    index = _history.read(options.history)
    batch = options.batch if options.gate in SIZED else None
    found = trend.trends(
        index, options.model, options.technique, options.gate, batch, options.machine
    )
    if options.target is not None:
        targets = [one.points[0].row.target for one in found]
        found = [one for one in found if one.points[0].row.target == options.target]
        if not found:
            what = f"not measured on {options.target!r}"
            raise RecordError(options.history, None, what, f"there are: {', '.join(targets)}")
    for one in found:
        for line in trend.lines(one, max(1, options.last)):
            print(line)
    if options.out is not None:
        trend_picture.write(found, options.out)
        print(options.out)
    _history.warn(index)
    return 0
