"""`python -m reports`: what the records of runs say, without measuring."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from reports import commands, records

USAGE_ERROR = 4
"""pytest's own exit code for wrong use; unreadable records count as that."""


BROKEN_PIPE = 128 + 13
"""As the shell tells of what a signal ended, here SIGPIPE."""


class _Parser(argparse.ArgumentParser):
    """Wrong use is exit code 4; a command with `words` takes those after `--` as they are."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if args is None or "--" not in args or self.get_default("words") is None:
            return super().parse_known_args(args, namespace)
        at = list(args).index("--")
        found, unknown = super().parse_known_args(list(args[:at]), namespace)
        found.words = list(args[at + 1 :])
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command line: a subcommand for each file of reports/commands."""
    main_parser = _Parser(prog="python -m reports", description=__doc__)
    subcommands = main_parser.add_subparsers(metavar="COMMAND", required=True)
    for name in sorted(module.name for module in pkgutil.iter_modules(commands.__path__)):
        if name.startswith("_"):
            continue
        module = importlib.import_module(f"reports.commands.{name}")
        words = (module.__doc__ or "").strip()
        first = words.split("\n", 1)[0].rstrip(".")
        command = subcommands.add_parser(
            name.replace("_", "-"),
            help=first[:1].lower() + first[1:],
            description=words,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(command)
        command.set_defaults(run=module.run)
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who read it has seen enough (`| head`). What is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except records.RecordError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        # A full disk or a directory that cannot be written: the file's name is in the message.
        print(f"error: {error}", file=sys.stderr)
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
