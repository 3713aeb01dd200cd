"""What the policy requires of a release and which failures it waives, as the run's record holds it.

Names and globs become cells here, where the catalogue is known: what reads the record later, or
puts shards together, needs neither the policy nor the catalogue.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from gauge.policy import CellFacts
from gauge.verdict import TRAINING_GATES
from reports import required
from suites import asking, matrix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from suites.run import Run


def required_part(run: Run) -> list[dict[str, Any]]:
    """Each [[require]] with its cells and gates.

    A name or glob covers what the matrix declares, whatever --model and --technique leave of it,
    and what this run adds to it.
    """
    if not run.policy.required:
        return []
    declared = {
        training: _declared(run, run.settings.matrix, ["*"], training=training)
        for training in (False, True)
    }
    found = []
    for entry in run.policy.required:
        questions = entry.questions(run.settings.gated)
        for training in (False, True):
            asked = [one for one in questions if (one[0] in TRAINING_GATES) == training]
            if not asked:
                continue
            cells, absent = entry.cells(declared[training])
            found.append(
                {
                    "source": entry.source,
                    "reason": entry.reason,
                    "cells": [_named(one) for one in cells],
                    "gates": [{"gate": gate, "batch": batch} for gate, batch in asked],
                    "no_cell": absent,
                }
            )
    return found


def waivers_part(run: Run) -> list[dict[str, Any]]:
    """Each [[waiver]] with how many gates of the matrix it covers on this run's targets."""
    if not run.policy.waivers:
        return []
    here, everywhere = (
        {training: _declared(run, which, targets, training=training) for training in (False, True)}
        for which, targets in ((run.settings.matrix, run.settings.targets), ("full", ["*"]))
    )
    batches, today = run.settings.batches, datetime.date.today()
    return [
        {
            "source": waiver.source,
            "gate": waiver.gate,
            "issue": waiver.issue,
            "owner": waiver.owner,
            "expires": waiver.expires.isoformat(),
            "expired": today > waiver.expires,
            "covers": run.policy.covered(waiver, here[training], batches),
            "anywhere": waiver.optional
            or run.policy.covered(waiver, everywhere[training], batches) > 0,
        }
        for waiver in run.policy.waivers
        for training in [waiver.gate in TRAINING_GATES]
    ]


def _declared(run: Run, which: str, targets: Iterable[str], *, training: bool) -> list[CellFacts]:
    """Facts of the declared cells, and of those that --model and --technique add to them.

    training: those of suites/test_training.py, or those of the other gates.
    """
    suite = "training" if training else "gates"
    declared = matrix.cells(run.catalog, matrix=which, targets=targets, suite=suite)
    added = [one for one in asking.asked(run.catalog, run.settings, ()) if one.trains == training]
    return list(dict.fromkeys(cell.facts for cell in (*declared, *added)))


def _named(facts: CellFacts) -> dict[str, str]:
    return {"model": facts.model, "technique": facts.technique, "target": facts.target}


def left_out(run: Run) -> list[str]:
    """What a release would lack because this run does not ask it: told before anything is measured.

    Empty for a shard: the other parts ask the rest.
    """
    asked = [
        {
            "cell": _named(cell.facts),
            "gate": gate,
            "batch": batch,
            "status": "PASS",
        }
        for cell, gate, batch in run.selected.values()
    ]
    return [one.text for one in required.unmet(run.policy_part | _options(run), asked)]


def _options(run: Run) -> dict[str, Any]:
    settings = run.settings
    chosen = {name: list(getattr(settings, name)) for name in ("models", "techniques")}
    batches = {"gated": list(settings.gated), "reported": list(settings.reported)}
    shard = getattr(settings, "shard", None)
    return {"options": chosen | batches, "matrix": settings.matrix, "shard": shard}
