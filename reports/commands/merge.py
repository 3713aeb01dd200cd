"""Put the shards of one run together: one record file, one page, one run of the history.

Shards of different commits, policies, machine classes, software or options are refused unless
--allow says which may differ. A single finished run may be given too: with --history it is added,
as its own run would have done.

Cells of the accepted run that no shard measured are missing. Exit code: 0 releasable, 1 where a
gate fails (in a release: also where one is undecided, or a cell is missing), 4 when refused.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from reports import merging, records, render
from reports.history.store import History
from reports.summarize import HOLD, SHIP, summarize


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shards", metavar="DIR", nargs="+", type=Path, help="folders that --report wrote"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where the merged records and pages go"
    )
    parser.add_argument(
        "--history", metavar="DIR", type=Path, help="add the merged run to this history"
    )
    parser.add_argument(
        "--allow",
        metavar="WHAT",
        action="append",
        default=[],
        choices=merging.KINDS,
        help=f"what shards may differ in: {', '.join(merging.KINDS)} (repeatable)",
    )


def run(options: argparse.Namespace) -> int:
    shards = [(path, records.read(path)) for path in options.shards]
    # One part alone is no run either: what it lacks is told.
    parts = shards[1:] or shards[0][1].run.get("shard")
    found = merging.merge(shards, options.allow) if parts else shards[0][1]
    if options.out is None and options.history is None:
        options.out = Path("merged")
    history = History.open(options.history, create=True) if options.history else None
    folders = [records.locate(path).parent for path in options.shards]
    with tempfile.TemporaryDirectory(prefix="merged-") as name:
        out = options.out or Path(name)
        merging.write(found, folders, out)
        if options.out is not None:
            print(render.write(found, out))
        if history is not None:
            print(history.add(records.read(out), out / "samples"))
    summary = summarize(found)
    print(f"{summary.verdict}: {summary.sentence}")
    if summary.verdict == HOLD:
        return 1
    return int(found.run.get("gate") == "release" and summary.verdict != SHIP)
