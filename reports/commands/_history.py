"""What the commands over a history share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports.history.index import Index
from reports.history.store import History
from reports.records import RecordError

DEFAULT = Path("history")
RUN = "a run: its id or a part of it, `last`, `accepted`"


def option(parser: argparse.ArgumentParser) -> None:
    """The option that every command over a history has."""
    parser.add_argument(
        "--history",
        metavar="DIR",
        type=Path,
        default=DEFAULT,
        help="the history's folder, as in `pytest suites/ --history DIR` (default: history)",
    )


def confirmation(parser: argparse.ArgumentParser) -> None:
    """The option that answers the question of a command that changes the history."""
    parser.add_argument("--yes", action="store_true", help="do not ask, do it")


def confirmed(question: str, yes: bool) -> bool:
    """Whether to go on: --yes, or a person says so. RecordError where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise RecordError(None, None, f"{question} Nobody can be asked here", "add --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def warn(index: Index) -> None:
    """Name the runs that could not be read; the others are."""
    history = index.history
    damaged = {**(history.damaged if history else {}), **index.damaged}
    for problem in damaged.values():
        print(f"warning: left out: {problem}", file=sys.stderr)


def read(path: Path) -> Index:
    """The rows of a history."""
    return Index(History.open(path))
