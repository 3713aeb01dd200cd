"""Proves the gates: measures how often they err and how long they take; run by `tox -e proof`.

    python tests/proof.py [--piece NAME]… [--count N] [--minutes M] [--store DIR] [--write]

Pieces are resumed: what --store holds stays, and only what is missing up to --count is measured.
Without --count each piece does its first part. --minutes, or Ctrl-C, stops it; the same command
goes on. --write only renders docs/proof.md and docs/proof.json from what there is, which every run
does at its end. Time needs a machine that does nothing else; `sizes` and `zoo` are simulations.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import proof_aa  # noqa: E402 - the folders above are not installed
import proof_drops  # noqa: E402
import proof_page  # noqa: E402
import proof_planted  # noqa: E402
import proof_sizes  # noqa: E402
import proof_slowdown  # noqa: E402
import proof_verdict_time  # noqa: E402
import proof_zoo  # noqa: E402
from proof_store import Store  # noqa: E402

TELL_S = 10.0
PIECES: dict[str, ModuleType] = {
    piece.NAME: piece
    for piece in (
        proof_aa,
        proof_slowdown,
        proof_verdict_time,
        proof_planted,
        proof_zoo,
        proof_drops,
        proof_sizes,
    )
}
"""Each has NAME, FIRST, SETTINGS, run, summary and page; docs/proof.md tells them in this order."""


def options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--piece", action="append", choices=list(PIECES), help="repeatable")
    parser.add_argument("--count", type=int, help="how many there shall be in all, of each piece")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after about")
    parser.add_argument("--store", type=Path, default=ROOT / "docs" / "proof", metavar="DIR")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="measure nothing, only render")
    chosen = parser.parse_args(words)
    if chosen.count is not None and chosen.count < 1:
        parser.error(f"--count is {chosen.count}, expected a positive number")
    if not chosen.minutes > 0:
        parser.error(f"--minutes is {chosen.minutes:g}, expected a positive number")
    return chosen


def measure(
    piece: ModuleType, store: Store, seed: int, count: int, go_on: Callable[[], bool]
) -> None:
    """Measure what the store lacks, and tell how far it is."""
    began, before, told = time.monotonic(), len(store.lines), 0.0
    lines = piece.run(seed, count, done=list(store.lines), go_on=go_on)
    try:
        for line in lines:
            store.add(line)
            passed = time.monotonic() - began
            if passed - told > TELL_S:
                told = passed
                print(f"{piece.NAME}: {len(store.lines)} lines, {passed:.0f} s", flush=True)
    finally:
        lines.close()
    passed = time.monotonic() - began
    print(
        f"{piece.NAME}: {before} lines before, {len(store.lines)} after {passed:.0f} s", flush=True
    )


def open_store(folder: Path, piece: ModuleType, seed: int) -> Store:
    return Store(folder / f"{piece.NAME}.jsonl", {"seed": seed, **piece.SETTINGS})


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(words: Sequence[str]) -> None:
    chosen = options(words)
    signal.signal(signal.SIGTERM, _interrupt)  # ends like Ctrl-C: workers closed, page written
    ends = time.monotonic() + 60 * chosen.minutes
    try:
        if not chosen.write:
            for name in chosen.piece or PIECES:
                piece = PIECES[name]
                store = open_store(chosen.store, piece, chosen.seed)
                count = chosen.count or piece.FIRST
                measure(piece, store, chosen.seed, count, lambda: time.monotonic() < ends)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", flush=True)
    stores = {piece: open_store(chosen.store, piece, chosen.seed) for piece in PIECES.values()}
    for path in proof_page.write(chosen.out, stores):
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
