"""Write release.json from a run's records beside its exported artifacts; measures nothing.

A release run with --export does this itself. This is for a run in shards: `merge` puts its records
together, and the folders that its shards exported are copied into one. Each artifact must be the
one that was measured, by its SHA-256. Exit code: 0 written, 1 where the run is not releasable, 4
for wrong use and artifacts that are not the run's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports import approval, records, release


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "records", metavar="DIR", type=Path, help="the directory of records.jsonl, or that file"
    )
    parser.add_argument(
        "--export",
        metavar="DIR",
        type=Path,
        required=True,
        help="the folder of exported artifacts, where release.json goes",
    )


def run(options: argparse.Namespace) -> int:
    found = records.read(options.records)
    (options.export / release.FILE).unlink(missing_ok=True)
    why = approval.refused(found)
    artifacts, told = approval.approvable(found)
    if why is None and not artifacts:
        why = "; ".join(["no artifact to approve", *told])
    if why is not None:
        print(f"not approved: {why}", file=sys.stderr)
        return 1
    for one in artifacts:
        approval.check_exported(options.export, found.run, one["cell"])
    for line in told:
        print(line)
    print(approval.write(options.export, found.run, artifacts))
    return 0
