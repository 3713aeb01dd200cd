"""`python -m reports`: pages made again from the records of a run, without measuring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from reports import records, render

USAGE_ERROR = 4
"""pytest's own exit code for wrong use; unreadable records count as that."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main_parser = _Parser(prog="python -m reports", description=__doc__)
    commands = main_parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "render",
        help="write index.html and summary.md from records.jsonl",
        description="Write index.html and summary.md from a run's records; measures nothing.",
    )
    command.add_argument(
        "records", metavar="DIR", type=Path, help="the directory of records.jsonl, or that file"
    )
    command.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: beside the records)"
    )
    command.add_argument(
        "--partial",
        action="store_true",
        help="show what is whole in a damaged record file, and say what is not",
    )
    command.set_defaults(run=_render)
    return main_parser


def _render(options: argparse.Namespace) -> int:
    path = records.locate(options.records)
    found = records.read_partial(path) if options.partial else records.read(path)
    for problem in found.problems:
        print(f"warning: {problem}", file=sys.stderr)
    directory = options.out or path.parent
    print(render.write(found, directory))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except records.RecordError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        # A full disk or a directory that cannot be written: the file's name is in the message.
        print(f"error: {error}", file=sys.stderr)
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
