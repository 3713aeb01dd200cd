"""A declared noisy neighbour: a process that computes and streams memory, on and off.

    python tests/proof_neighbour.py CPU

It sits on the last CPU that the proof may use: beside the timed process where there are two or
more (the scheduler may still put both on one), on the same core where there is one. It runs half
of the time, in spells of 0.1 to 0.5 s, so that it starts and stops within a timed process.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEGABYTES = 48
SPELL_S = (0.1, 0.5)
SETTINGS = {"duty": 0.5, "megabytes": MEGABYTES, "spell_s": list(SPELL_S)}
ROOT = Path(__file__).resolve().parent.parent


def where() -> str:
    """Where the neighbour sits, as a record tells it."""
    count = len(os.sched_getaffinity(0))
    return "on the only core" if count == 1 else f"on the last of {count} cores"


@contextlib.contextmanager
def neighbour(wanted: bool) -> Iterator[str | None]:
    """Have the neighbour run meanwhile, where it is wanted; gives where it sits."""
    if not wanted:
        yield None
        return
    cpu = max(os.sched_getaffinity(0))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(
        [sys.executable, __file__, str(cpu)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the neighbour ended with {process.wait()}")
        yield where()
        if process.poll() is not None:
            raise RuntimeError(f"the neighbour ended early with {process.returncode}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    import numpy as np

    from gauge.forkserver import die_with_parent

    die_with_parent()
    os.sched_setaffinity(0, {int(sys.argv[1])})
    streamed = np.zeros(MEGABYTES * 2**20 // 16)
    copy = np.empty_like(streamed)
    square: Any = np.eye(192, dtype=np.float32)
    print("ready", flush=True)
    while True:
        end = time.monotonic() + random.uniform(*SPELL_S)
        while time.monotonic() < end:
            np.copyto(copy, streamed)
            for _ in range(20):
                square = square @ square
        time.sleep(random.uniform(*SPELL_S))


if __name__ == "__main__":
    main()
