"""Show one run of a history: its verdict, what fails, whether it can be trusted."""

from __future__ import annotations

import argparse

from reports import records, summary
from reports.commands import _history
from reports.history import machine
from reports.history.store import History


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="RUN", help=_history.RUN)
    _history.option(parser)


def run(options: argparse.Namespace) -> int:
    history = History.open(options.history)
    name = history.resolve(options.name)
    folder = history.folder(name)
    found = records.read(folder)
    accepted = [one for one in history.acceptances if one.run == name]
    print(f"{name} at {folder}; its page: python -m reports render {folder} --out DIR")
    for one in accepted:
        print(f"accepted on {one.at} as the baseline of machine class {one.machine}")
    for field, value in machine.deciding(found.run).items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{field}: {shown}")
    print()
    print(summary.markdown(found), end="")
    return 0
