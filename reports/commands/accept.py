"""Make a run the baseline of its machine class, after showing what differs from the one before.

Later runs on such machines are compared with it (`pytest suites/ --history DIR`), and with the
best level of the runs before: a slow creep over several accepted runs is still told. Where slower
is meant, say so with --new-level and the reason, and that comparison begins anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reports import formats
from reports.commands import _history
from reports.history import artifacts, compare, machine, side, text
from reports.history.store import History
from reports.records import RecordError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="RUN", help=_history.RUN)
    _history.option(parser)
    parser.add_argument(
        "--new-level",
        metavar="REASON",
        help="slower is meant: compare with no level from before this run; written down",
    )
    parser.add_argument(
        "--artifacts",
        metavar="CACHE",
        type=Path,
        help="keep the run's artifacts in the history too, from the run's --cache: to confirm "
        "regressions on machines whose cache lacks them",
    )
    _history.confirmation(parser)


def run(options: argparse.Namespace) -> int:
    index = _history.read(options.history)
    history = index.history
    assert history is not None
    name = history.resolve(options.name)
    header = history.runs[name]
    if header.get("contaminated"):
        what = f"the run {name} is contaminated: FP32 against its own copy came out different"
        raise RecordError(None, None, what, "accept a run whose times can be trusted")
    kind = machine.class_of(header)
    before = history.accepted.get(kind)
    if before is None:
        print(f"machine class {kind} has no baseline yet")
    elif before.run == name and options.new_level is None and options.artifacts is None:
        print(f"{name} is the baseline of machine class {kind} already")
        return 0
    elif before.run not in history.runs:
        print(f"the baseline until now, {before.run}, is no longer there")
    else:
        new = side.of_run(index, name)
        for line in text.lines(compare.compare(side.of_run(index, before.run), new)):
            print(line)
    if not _history.confirmed(f"Make {name} the baseline of {kind}?", options.yes):
        print("nothing was changed")
        return 1
    if options.artifacts is not None:
        _keep(history, name, options.artifacts)
    history.accept(name, options.new_level)
    print(f"{name} is now the baseline of machine class {kind}")
    return 0


def _keep(history: History, run: str, cache: Path) -> None:
    kept, absent = artifacts.keep(history, run, cache)
    print(f"{formats.count(kept, 'artifact')} of {run} kept in {history.path / artifacts.FOLDER}")
    for cell in absent:
        print(f"not in {cache}: the artifact of {cell}; its regressions cannot be confirmed by it")
