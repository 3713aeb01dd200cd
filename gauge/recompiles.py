"""Whether torch.compile built anything, or gave up, while something else was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Counted:
    """What dynamo has counted in this process.

    graphs: built. breaks: graph breaks, places where Python runs between two graphs. given_up:
    frames that run in eager torch because they broke the limit of recompilations or an error came.
    """

    graphs: int = 0
    breaks: int = 0
    given_up: int = 0


def counted() -> Counted:
    """The counters now; zeros where nothing has asked for a compilation."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None:
        return Counted()
    counters = dynamo.counters
    frames = counters["frames"]
    return Counted(
        graphs=counters["stats"]["unique_graphs"],
        breaks=sum(counters["graph_break"].values()),
        given_up=frames["total"] - frames["ok"],
    )


def watch() -> Callable[[], str | None]:
    """Start watching; the function returned gives the reason why a time means nothing, or None.

    For gauge.timing.measure_pair. A frame that dynamo has given up on invalidates what is timed
    later as well: by then it runs in eager torch, and counts nothing more.
    """
    before = counted()

    def finish() -> str | None:
        after = counted()
        if after.given_up:
            return (
                f"torch.compile gave up on {after.given_up} frames (recompiled too often, or "
                "failed): eager torch was timed"
            )
        if after.graphs > before.graphs:
            return f"torch.compile built {after.graphs - before.graphs} graphs while timed"
        if after.breaks > before.breaks:
            return f"{after.breaks - before.breaks} graph breaks while timed"
        return None

    return finish
