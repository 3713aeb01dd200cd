"""Remove old runs of a history, and what killed writers left in it.

The baselines of today and the last runs stay. What would go is listed first.
"""

from __future__ import annotations

import argparse
import shutil

from reports import formats
from reports.commands import _history
from reports.history.store import History


def arguments(parser: argparse.ArgumentParser) -> None:
    _history.option(parser)
    parser.add_argument("--keep", metavar="N", type=int, required=True, help="keep the last N runs")
    _history.confirmation(parser)


def run(options: argparse.Namespace) -> int:
    history = History.open(options.history)
    baselines = {one.run for one in history.accepted.values()}
    kept = set(history.names[-options.keep :]) if options.keep > 0 else set()
    gone = [name for name in history.names if name not in kept | baselines]
    leftovers = history.leftovers()
    for name in gone:
        print(f"run {name}")
    for path in leftovers:
        print(f"left by a killed writer: {path.relative_to(history.path)}")
    if not gone and not leftovers:
        print("nothing to remove")
        return 0
    if not _history.confirmed(f"Remove {formats.count(len(gone), 'run')} for good?", options.yes):
        print("nothing was changed")
        return 1
    for name in gone:
        history.remove(name)
    for path in leftovers:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (history.path / "index").glob("*.parquet"):
        if path.name.partition(".")[0] in gone:
            path.unlink(missing_ok=True)
    print(f"removed {formats.count(len(gone), 'run')}; {len(history.names)} are left")
    return 0
