"""Compare two runs: what became worse, better, missing or new from A to B.

Compared are the ratios to FP32 that each run measured within its own processes, and the accuracy
sample by sample; never bare times. Runs of different machine classes are not compared: the fields
that differ are listed instead. A model with other baseline weights pairs nothing.

Exit code: 0 when something was compared and nothing became worse, missing or an error; else 1.
"""

from __future__ import annotations

import argparse

from reports.commands import _history
from reports.history import compare, side, text
from reports.history.index import Index
from reports.history.store import History


def arguments(parser: argparse.ArgumentParser) -> None:
    what = f"{_history.RUN}; or a folder that --report wrote"
    parser.add_argument("old", metavar="A", help=f"the earlier run: {what}")
    parser.add_argument("new", metavar="B", help="the later run, in the same way")
    _history.option(parser)
    parser.add_argument("--all", action="store_true", help="show every line, not the first ones")


def run(options: argparse.Namespace) -> int:
    history = History.open(options.history) if options.history.is_dir() else None
    index = Index(history)
    found = compare.compare(side.find(index, options.old), side.find(index, options.new))
    for line in text.lines(found, options.all):
        print(line)
    return 0 if found.good else 1
