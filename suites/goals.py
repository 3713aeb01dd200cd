"""What cells that choose their pipeline themselves are to find: options, checked and completed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from gauge.policy import Limit, Policy
from suites import options
from suites.catalog import CLASS_OF, Catalog
from suites.matrix import Cell
from suites.options import Settings

SINGLE = ("size", "energy")
"""Goals of calls with one sample that the fastest does not meet best: the speed gate asks too."""

DEFAULTS = {"optimise_for": "latency", "allow": "numerics"}


def settle(
    settings: Settings, policy: Policy, catalog: Catalog, cells: Sequence[Cell]
) -> tuple[Settings, list[Cell]]:
    """Settings with a goal for each automatic cell; those cells with the widest class allowed.

    Raises pytest.UsageError for options that no cell heeds, and for goals that cannot be met.
    """
    if not any(cell.automatic for cell in cells):
        _check_heeded(settings, catalog)
        return settings, list(cells)
    chosen: dict[str, Any] = {**DEFAULTS, **settings.goal, "batch": max(settings.batches)}
    if chosen["optimise_for"] == "throughput" and chosen["batch"] == 1:
        raise pytest.UsageError(
            "--optimise-for throughput: with batches of one sample that is the latency; write "
            "--batch 32, or --optimise-for latency"
        )
    found, goals = [], {}
    for cell in cells:
        if cell.automatic:
            cell = dataclasses.replace(cell, cls=CLASS_OF[chosen["allow"]])
            most = _allowed(policy, cell, settings.goal.get("max_drop"))
            fidelity = policy.general("fidelity", cell.model)
            goals[cell.id] = {**chosen, "max_drop": most, "fidelity": fidelity}
            if chosen["optimise_for"] in SINGLE and 1 in settings.gated:
                goals[cell.id]["speed"] = policy.general("speed", cell.model)
        found.append(cell)
    return dataclasses.replace(settings, goals=goals), found


def _check_heeded(settings: Settings, catalog: Catalog) -> None:
    """A goal that nothing selected heeds would be an option that does nothing."""
    if settings.goal:
        names = " and ".join(options.GOALS[one] for one in settings.goal)
        able = [name for name, one in catalog.techniques.items() if one.attributes["automatic"]]
        raise pytest.UsageError(
            f"{names}: no selected cell chooses its pipeline itself; add --technique {able[0]}"
        )


def limit(policy: Policy, cell: Cell) -> Limit | None:
    """The accuracy limit that the policy gives an automatic cell, whatever it will find."""
    found = policy.limit(cell.facts, "accuracy")
    return found if isinstance(found, Limit) else None


def _allowed(policy: Policy, cell: Cell, stated: float | None) -> float:
    """The drop that the search may allow: as stated, at most what the accuracy gate allows."""
    held = limit(policy, cell)
    if stated is None:
        if held is None:
            raise pytest.UsageError(
                f"--max-drop: the policy has no accuracy limit for {cell.id}; state --max-drop"
            )
        return held.bound
    name = cell.stages[0].technique
    if held is not None and stated > held.bound:
        raise pytest.UsageError(
            f"--max-drop: found {stated:g}, but the accuracy gate of {cell.id} allows "
            f"{held.bound:g} ({held.source}), and what is found would fail it; write --max-drop "
            f'{held.bound:g}, or a limit with technique = "{name}" in the policy'
        )
    return stated
