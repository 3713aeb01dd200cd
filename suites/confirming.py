"""The job that confirms a regression: an earlier artifact and this run's in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gauge import affinity, recompiles, timing
from optimizers import artifact
from suites import stopwatch
from suites import world as shared
from suites.world import World


def confirm(arguments: dict[str, Any]) -> dict[str, Any]:
    """An earlier artifact of the cell and this run's, in turns; one log-ratio a batch size."""
    cpus = affinity.allowed()
    world = World(arguments)
    folders = {"earlier": Path(arguments["earlier"]), "now": Path(arguments["artifact"])}
    # Which is loaded first decides where its weights lie in memory (gauge.order).
    order = sorted(folders, reverse=arguments["candidate_first"])
    arms = {name: artifact.load(folders[name] / shared.ARTIFACT, world.target) for name in order}
    affinity.pin(cpus)
    measured: dict[str, dict[str, Any]] = {}
    for batch in arguments["batches"]:
        only = [one.batch for one in arms.values() if one.batch not in (None, batch)]
        if only:
            measured[str(batch)] = {"refused": f"an artifact accepts batch {only[0]} only"}
            continue
        example = world.target.cast(world.example(batch))
        measured[str(batch)] = timing.measure_pair(
            arms["earlier"],
            arms["now"],
            world.target,
            example,
            example,
            **arguments["lengths"][str(batch)],
            candidate_first=arguments["candidate_first"],
            watch=recompiles.watch,
            cache_mode=arguments["cache_mode"],
            with_energy=False,
            verify=stopwatch.verified(world, arms["now"], batch),
        ).as_dict()
    return {"batches": measured}
