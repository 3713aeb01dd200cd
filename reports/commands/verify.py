"""Tell whether artifacts are approved: exit code 0 if all are, 1 if any is not, 4 for wrong use.

Each FILE is an artifact's file, judged by its SHA-256 whatever it is called, or a folder, in which
every file must lie as release.json lists it and belong to an artifact that is there as a whole.
Where files come from a place that others can write to, keep release.json elsewhere and name it with
--release: whoever can change both can approve anything.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports import formats, records, release


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="a file or a folder")
    parser.add_argument(
        "--release",
        metavar="FILE",
        type=Path,
        help="the list of what is approved (default: the nearest release.json above each FILE)",
    )


def run(options: argparse.Namespace) -> int:
    findings = []
    for path in options.files:
        if not path.exists():
            raise records.RecordError(path, None, "there is no such file", "name one that is there")
    lists = {path: options.release or release.locate(path) for path in options.files}
    known = {path: release.read(path) for path in dict.fromkeys(lists.values())}
    for path in options.files:
        findings += release.check(known[lists[path]], path)
    for found in findings:
        if found.problem:
            print(f"NOT APPROVED {found.path}: {found.problem}")
        else:
            print(f"approved {found.path}: {found.cell}")
    wrong = sum(1 for found in findings if found.problem)
    if wrong:
        print(f"{wrong} of {formats.count(len(findings), 'file')} not approved", file=sys.stderr)
    return 1 if wrong else 0
