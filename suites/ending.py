"""How a run ends: its record, report and exports are written, and it has an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reports.history import compare
from reports.records import Records
from suites import asking, exporting, keeping, recording, usual
from suites.engine import Engine
from suites.journal import Process

if TYPE_CHECKING:
    from suites.run import Run


def end(run: Run, exitstatus: int) -> int:
    """Write everything; the exit status, which is pytest's own unless nothing was measured."""
    # Under pytest-xdist every worker collects all gates, and the controller none.
    asked = max([len(run.selected), *(part["gates"] for part in run.shards)])
    missing = asked - len(run.records)
    up = run.time_up or next((one["time_up"] for one in run.shards if one["time_up"]), None)
    if up:
        exitstatus = int(pytest.ExitCode.INTERRUPTED)
    interrupted = recording.interruption(exitstatus, missing, run.settings.max_minutes, up)
    if run.settings.history:
        run.save(complete=False, interrupted="comparing with earlier runs")
        run.compared = keeping.told(run, run.header)
    run.save(complete=interrupted is None, interrupted=interrupted)
    _remember(run)
    code = _code(run, exitstatus)
    if run.settings.export:
        _export(run, releasable=code == pytest.ExitCode.OK)
    recording.render(run)
    return code


def _code(run: Run, exitstatus: int) -> int:
    """pytest's exit code, but where nothing was measured, a release lacks something, or it is lost.

    A whole run that measured something is kept in its history on the way.
    """
    measured = [one for one in run.records.values() if recording.measured(one)]
    if not measured and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        failed = exitstatus == pytest.ExitCode.TESTS_FAILED
        return exitstatus if failed else int(pytest.ExitCode.NO_TESTS_COLLECTED)
    part = keeping.part(run.header)
    if run.settings.history and run.header["complete"] and not part:
        run.unkept = keeping.keep(run)
    if exitstatus == pytest.ExitCode.OK and run.settings.gate == "release":
        lost = run.compared is not None and not part and not compare.holds(run.compared)
        if run.header["contaminated"] or run.unmet or run.stale_waivers or lost:
            return int(pytest.ExitCode.TESTS_FAILED)
    if exitstatus == pytest.ExitCode.OK and run.unkept:
        return int(pytest.ExitCode.INTERNAL_ERROR)
    return exitstatus


def _export(run: Run, *, releasable: bool) -> None:
    if not run.begun:
        # The controller of pytest-xdist measured nothing itself; all is in the cache.
        number = next((part["process"] for part in run.shards), run.process.run)
        process = Process("controller", number)
        run.engine = Engine(run.settings, run.catalog, run.progress, process)
        measured = {record["id"] for record in run.records.values()}
        run.asked_cells = [one for one in run.every_cell if one.id in measured]
        run.run_id = run.header["run"]
    run.told = exporting.export(run, releasable=releasable)


def _remember(run: Run) -> None:
    """What later runs go by: usual speeds, and what the gates certified, to be put under load."""
    known = usual.Usual(run.settings.cache / usual.FILE)
    for record in run.records.values():
        known.add(record)
    known.save()
    if any(asking.HOMES[record["gate"]] == asking.GATES for record in run.records.values()):
        run.certified.add(Records(run.header, list(run.records.values())))
        run.certified.save()
