"""Write index.html and summary.md from a run's records; measures nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports import records
from reports import render as page


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "records", metavar="DIR", type=Path, help="the directory of records.jsonl, or that file"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: beside the records)"
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="show what is whole in a damaged record file, and say what is not",
    )


def run(options: argparse.Namespace) -> int:
    path = records.locate(options.records)
    found = records.read_partial(path) if options.partial else records.read(path)
    for problem in found.problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(page.write(found, options.out or path.parent))
    return 0
