"""A fresh server process up to its first answer: `python -m suites.serving_cold`, a job on stdin.

Prints the clock (CLOCK_MONOTONIC, s, the same for all processes) once it has answered.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Import, open, answer one sample."""
    arguments = json.load(sys.stdin)
    # Here, since importing is a part of what is timed.
    from suites import world as shared

    world = shared.World(arguments)
    candidate = shared.load_candidate(world)
    shared.run_example(world, candidate, getattr(candidate, "batch", None) or 1)
    print(time.monotonic())


if __name__ == "__main__":
    main()
