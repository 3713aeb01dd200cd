"""A whole run beside the accepted one: what is missing or new; and into the history with it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauge.names import names_match
from reports import records
from reports.history import compare
from reports.history.index import Row
from reports.history.samples import Samples
from reports.history.side import Side
from reports.history.store import History
from reports.records import RecordError
from suites import asking
from suites.past import Past

if TYPE_CHECKING:
    from suites.run import Run


def told(run: Run, header: dict[str, Any]) -> dict[str, Any]:
    """What a whole run says beside the accepted one, for its record: see schema.json."""
    assert run.settings.history is not None
    try:
        past = Past(run.settings.history, header)
    except RecordError as error:
        return {"accepted": None, "reason": str(error), "compared": 0}
    found: dict[str, Any] = {
        "accepted": past.old.name if past.old else None,
        "machine": past.machine,
        "reason": past.broken or past.absent,
        "compared": 0,
    }
    if past.old is None:
        return found
    verdicts = run.records.values()
    rows = {row.key: row for row in (_row(header["run"], one) for one in verdicts)}
    new = Side({**header, "artifacts": header["artifacts"]}, rows, Samples(run.settings.report))
    cells = compare.cells(past.old, new)
    evidence = [one["evidence"] for one in verdicts if one["gate"] == "regression"]
    pairs = [one for one in evidence if one.get("speed") or one.get("accuracy") or "size" in one]
    homes = {asking.HOMES[one["gate"]] for one in verdicts}
    asked = [cell for cell in cells.missing if _asked(run, past.old, cell, homes)]
    return {
        **found,
        "compared": len(pairs),
        "missing": asked,
        "new": cells.added,
        "renamed": {old: now for old, now in cells.renamed if old in asked},
        "errored": cells.errored,
        "gains": [
            f"{one['id']}, batch {pair['batch']}: {pair['earlier']:.3g}, then {pair['now']:.3g}"
            for one in verdicts
            if one["gate"] == "regression"
            for pair in one["evidence"].get("speed") or ()
            if pair["gain"]
        ],
        "software": past.software,
    }


def _row(run: str, one: dict[str, Any]) -> Row:
    cell = one["cell"]
    numbers = (one["status"], one["value"], one["low"], one["high"])
    names = (run, cell["model"], cell["technique"], cell["target"], one["gate"], one["batch"])
    return Row(*names, *numbers, None, None, None, None)


def _asked(run: Run, old: Side, cell: str, homes: Collection[Path]) -> bool:
    """Whether this run chooses a cell of the accepted one: its options, and the files it asks."""
    rows = [row for row in old.rows.values() if row.cell == cell]
    if not any(asking.HOMES.get(row.gate) in homes for row in rows):
        return False
    row = rows[0]
    settings = run.settings
    chosen = (
        (settings.targets, row.target),
        (settings.models, row.model),
        (settings.techniques, row.technique),
    )
    return all(not names or any(names_match(one, name) for one in names) for names, name in chosen)


def part(header: dict[str, Any]) -> bool:
    """Whether a run measures only a part of what the accepted one did, and others the rest."""
    return bool(header.get("shard") or header["options"].get("changed_since"))


def keep(run: Run) -> str | None:
    """Add the finished run to the history; why it could not be, or None.

    A shard is added by `python -m reports merge`.
    """
    assert run.settings.history is not None
    report = run.settings.report
    try:
        History.open(run.settings.history).add(records.read(report), report / "samples")
    except RecordError as error:
        return str(error)
    return None
