"""`python -m suites cache`: carry what was trained and optimised to another machine.

A machine that imports trains and optimises nothing that was exported.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from gauge.cache import Cache
from reports import formats
from reports.history.artifacts import default_cache
from suites import archive, built
from suites.archive_reader import ArchiveError

USAGE_ERROR = 4
"""pytest's own exit code for wrong use; an archive that is not taken counts as that."""

WORDS = {
    "weights": ("baseline", "baselines"),
    "artifacts": ("artifact", "artifacts"),
    built.STOPS: ("reason why something was not built", "reasons why something was not built"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command line: `cache export` and `cache import`."""
    main_parser = _Parser(prog="python -m suites", description=__doc__)
    cache = main_parser.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "cache", help="carry a cache to another machine", description=__doc__
    )
    commands = cache.add_subparsers(metavar="COMMAND", required=True)
    out = commands.add_parser("export", help="write the cache into one file")
    out.add_argument("file", metavar="FILE", type=Path, help="the tar archive to write")
    out.add_argument(
        "--used-within",
        metavar="HOURS",
        type=_hours,
        help="only what was made or used in the last so many hours (default: everything)",
    )
    out.set_defaults(run=_export)
    into = commands.add_parser("import", help="take such a file into the cache")
    into.add_argument("file", metavar="FILE", type=Path, help="an archive that `export` wrote")
    into.add_argument(
        "--compiled",
        action="store_true",
        help="also artifacts that hold compiled code: it runs as it is, so only from an archive "
        "that you made yourself",
    )
    into.add_argument(
        "--sha256", metavar="HEX", help="what `export` printed; another archive is not taken"
    )
    into.set_defaults(run=_import)
    for command in (out, into):
        command.add_argument(
            "--cache",
            metavar="DIR",
            type=Path,
            default=None,
            help="the cache's folder (default: as for `pytest suites/`)",
        )
    return main_parser


def _hours(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of hours above 0")
    return value


def _export(options: argparse.Namespace) -> int:
    cache = Cache(options.cache or default_cache())
    if not cache.root.is_dir():
        raise ArchiveError(
            f"{cache.root}: there is no cache; `pytest suites/ --stage build` fills one"
        )
    carried = archive.pack(cache, options.file, options.used_within)
    for damaged in carried.left_out:
        print(f"warning: left out, damaged: {damaged}", file=sys.stderr)
    if not carried.entries:
        print(f"warning: {cache.root} holds nothing to export", file=sys.stderr)
    print(f"wrote {options.file}: {_counted(carried.entries)}, {formats.size(carried.bytes)}")
    print(f"SHA-256 {carried.sha256}")
    return 0


def _import(options: argparse.Namespace) -> int:
    cache = Cache(options.cache or default_cache())
    carried = archive.unpack(cache, options.file, compiled=options.compiled, sha256=options.sha256)
    print(f"took {_counted(carried.entries)} into {cache.root}")
    if carried.there:
        print(f"there already: {_counted(carried.there)}")
    if carried.left_out:
        shown = ", ".join(carried.left_out[:5]) + (" …" if carried.left_out[5:] else "")
        print(
            f"left out {len(carried.left_out)} with compiled code ({shown}): --compiled takes "
            "them, from an archive that you made yourself"
        )
    return 0


def _counted(entries: Mapping[str, int]) -> str:
    found = Counter(entries)
    parts = [formats.count(found[kind], *WORDS[kind]) for kind in built.KINDS if found[kind]]
    return ", ".join(parts) or "nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ArchiveError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
