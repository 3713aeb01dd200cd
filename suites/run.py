"""One run: what was asked, the engine that answers, and the verdicts so far."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from gauge import triage
from gauge.machine import FLAGS, packages_problem
from gauge.policy import Known, Limit, NoExpectation, Policy, PolicyError
from gauge.turns import LockError
from gauge.verdict import TIMED_GATES, TRAINING_GATES, Verdict, deployment_of
from reports import records as record_files
from reports import required, waivers
from reports.history.store import History
from reports.records import RecordError
from suites import (
    ablation,
    asking,
    choices,
    edge,
    ending,
    expecting,
    goals,
    keys,
    options,
    plan,
    recording,
    serving,
    usual,
    verdicts,
)
from suites import catalog as catalogs
from suites import certified as certificates
from suites.builds import BUILD, Builds
from suites.catalog import ROOT, Catalog
from suites.certified import Certified
from suites.deadline import TimeUp
from suites.engine import Engine
from suites.journal import Process
from suites.matrix import Cell
from suites.options import Settings
from suites.progress import Progress
from suites.regression import Regressions
from suites.required import required_part, waivers_part
from suites.rounds import Rounds
from suites.selection import Selection, select
from suites.training import Training

SAVE_EVERY_SECONDS = 10.0

Question = tuple[Cell, str, int | None]


def _check_budget(settings: Settings, catalog: Catalog, cells: list[Cell]) -> None:
    """A budget that nothing selected keeps to would be an option that does nothing."""
    if settings.budget and not any(keys.budgeted(catalog, cell, settings) for cell in cells):
        names = " and ".join(options.BUDGETS[one] for one in settings.budget)
        able = [n for n, one in catalog.techniques.items() if one.attributes["budgeted"]]
        raise pytest.UsageError(
            f"{names}: no selected cell keeps to a budget; select one that searches, such as "
            f"--technique {able[0]}"
        )


@dataclass
class Run:
    """Everything that one pytest session of the suites knows."""

    settings: Settings
    catalog: Catalog
    cells: list[Cell]
    policy: Policy
    progress: Progress
    command: str
    process: Process
    selection: Selection
    certified: Certified
    deployed: list[Cell] = field(default_factory=list)
    deployments: tuple[str, ...] = ()
    worker: bool = False
    selected: dict[str, Question] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: list[dict[str, Any]] = field(default_factory=list)
    begun: bool = False
    unexported: bool = False
    time_up: str | None = None
    builds: Builds = field(default_factory=Builds)
    compared: dict[str, Any] | None = None
    unkept: str | None = None
    told: list[str] = field(default_factory=list)

    @classmethod
    def create(cls, config: pytest.Config) -> Run:
        """Read options, catalogue, cells and policy; nothing is started."""
        settings = options.read(config.option, ROOT)
        catalog = catalogs.read(settings.plugins)
        named = asking.named_paths(config)
        cells = asking.asked(catalog, settings, named)
        _check_budget(settings, catalog, cells)
        deployments = asking.deployments(settings, named)
        certified = Certified(settings.cache / certificates.FILE)
        deployed = certificates.chosen(catalog, settings, certified) if deployments else []
        known = Known(
            models=sorted(catalog.models),
            techniques=sorted(catalog.techniques),
            families=sorted({*catalog.families(), "combination"}),
            targets=sorted(catalog.targets),
            capabilities={*FLAGS, "cuda"},
        )
        try:
            policy = Policy.read(settings.policy, known)
            policy.check([cell.facts for cell in {*cells, *deployed}], settings.batches)
        except PolicyError as error:
            raise pytest.UsageError(str(error)) from error
        settings, cells = goals.settle(settings, policy, catalog, cells)
        settled = {cell.id: cell for cell in cells}
        deployed = [settled.get(cell.id, cell) for cell in deployed]
        worker = getattr(config, "workerinput", None)
        if worker is None:
            selection = select(settings, catalog, cells)
        else:  # the controller has chosen: durations may have changed since
            selection = Selection([cell for cell in cells if cell.id in worker["optgauge_cells"]])
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        progress = Progress(quiet=reporter is None or config.option.verbose < 0)
        words = config.invocation_params.args
        return cls(
            settings,
            catalog,
            selection.cells,
            policy,
            progress,
            recording.command_line(words),
            Process.of(config),
            selection,
            certified,
            deployed,
            deployments,
            worker=worker is not None,
        )

    @property
    def every_cell(self) -> list[Cell]:
        """The cells of all suites; those under load come as they were chosen, FP32 first."""
        return list(dict.fromkeys([*self.deployed, *self.cells]))

    def cells_of(self, gate: str) -> list[Cell]:
        """The cells that a gate is asked of."""
        if deployment_of(gate) is not None:
            return self.deployed
        return [cell for cell in self.cells if cell.trains == (gate in TRAINING_GATES)]

    def select(self, cell: Cell, gate: str, batch: int | None, nodeid: str) -> None:
        """A test of this session."""
        self.selected[nodeid] = (cell, gate, batch)

    # The start

    def begin(self) -> None:
        """Start workers, check plug-ins and targets; pytest.UsageError when one is unusable."""
        problem = packages_problem()
        if problem:
            raise pytest.UsageError(problem)
        if self.settings.cache_drop:
            shutil.rmtree(self.settings.cache, ignore_errors=True)
        self.asked_cells = list(dict.fromkeys(cell for cell, _, _ in self.selected.values()))
        self.progress.total = len(self.selected)
        if self.settings.stage == BUILD:
            self.progress.unit = "cells"
        self.started = time.time()
        self._saved = time.monotonic()
        self.run_id = recording.new_run_id(self.started)
        self._prepare_folder()
        self.engine = Engine(self.settings, self.catalog, self.progress, self.process)
        self.selection.keep(self.settings)
        self.engine.notices += self.selection.notices
        try:
            self.engine.sections.check()
        except LockError as error:
            raise pytest.UsageError(str(error)) from error
        self._check_plugins()
        self.capabilities = {name: self._capabilities(name) for name in self._targets()}
        self.rounds = Rounds(self.engine, self.settings.effort)
        self.training = Training(self.engine, self.settings.effort)
        self.edge = edge.Edge(self.engine, self.settings.effort)
        self.serving = serving.Serving(self.engine)
        self._undecidable()
        self.regressions = self._regressions()
        self._new: dict[Cell, bool] = {}
        if not self.worker:
            self._lanes(self.asked_cells)
        self.progress.remaining = self.remaining
        self._answers: dict[Question, tuple[Verdict, float]] = {}
        self._verdicts: dict[Cell, dict[tuple[str, int | None], Verdict]] = {}
        self.begun = True

    def _prepare_folder(self) -> None:
        report = self.settings.report
        if self.settings.stage == BUILD:
            return  # it measures nothing, and leaves the last report as it is
        try:
            report.mkdir(parents=True, exist_ok=True)
            probe = report / ".writable"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise pytest.UsageError(f"--report {report}: cannot be written ({error})") from error
        if self.settings.history is not None:
            try:
                History.open(self.settings.history, create=True)
            except RecordError as error:
                raise pytest.UsageError(f"--history: {error}") from error
        if not self.settings.resume and not self.worker:
            shutil.rmtree(report / "samples", ignore_errors=True)
            shutil.rmtree(report / serving.FOLDER, ignore_errors=True)

    def _check_plugins(self) -> None:
        if not self.settings.plugins:
            return
        found = self.engine.job("plugins", "plug-ins", "probe", {}, keep=False)
        if found["problem"]:
            raise pytest.UsageError(found["problem"])
        for kind in ("models", "techniques", "targets"):
            unseen = sorted(set(found[kind]) - set(getattr(self.catalog, kind)))
            if unseen:
                raise pytest.UsageError(
                    f"a plug-in registers the {kind} {', '.join(unseen)} in a way that cannot be "
                    "read from its source; decorate a class with a literal name"
                )

    def _targets(self) -> list[str]:
        return sorted({cell.target for cell, _, _ in self.selected.values()})

    def _capabilities(self, name: str) -> list[str]:
        probed = self.engine.probe(name)
        if not probed["missing"]:
            return probed["capabilities"]
        if self.settings.stage == BUILD:
            return []  # baselines can be trained without the device: see `build`
        usable = [one for one in self.catalog.targets if not self.engine.probe(one)["missing"]]
        twin = self.catalog.targets[name].attributes["cpu_twin"]
        hint = f" Its CPU twin is {twin}: pytest suites/ --target {twin}" if twin in usable else ""
        raise pytest.UsageError(
            f"--target {name}: {probed['missing']}. Usable here: {', '.join(sorted(usable))}.{hint}"
        )

    def _undecidable(self) -> None:
        """Limits that no measurement can decide: named, and no ground to release on."""
        asked = [cell for cell, gate, _ in self.selected.values() if gate == "accuracy"]
        found = usual.near_limits(self) + list(plan.undecidable(self, list(dict.fromkeys(asked))))
        if found and self.settings.gate == "release":
            raise pytest.UsageError("\n".join(["--gate release: limits to move first", *found]))
        under_load = [cell for cell in self.deployed if cell in self.asked_cells]
        found += certificates.unknown(under_load, self.settings, self.certified)
        self.engine.notices += found

    def _regressions(self) -> Regressions | None:
        """Earlier runs, where --history names some."""
        if self.settings.history is None:
            return None
        try:
            return Regressions.of(self)
        except RecordError as error:
            raise pytest.UsageError(f"--history: {error}") from error

    def _lanes(self, cells: list[Cell]) -> None:
        """What is timed of these cells, in turns, and the A/A cells beside it."""
        steps: dict[Cell, float | None] = {}
        for cell, gate, _ in self.selected.values():
            if gate == "training_speed" and cell in cells:
                limit = self.limit(cell, gate, None)
                steps[cell] = limit.bound if isinstance(limit, Limit) else None
        self.training.open_lanes(steps)
        batches: dict[Cell, list[int]] = {}
        for cell, gate, batch in self.selected.values():
            if gate == "speed" and batch is not None and cell in cells:
                batches.setdefault(cell, []).append(batch)
        for cell, sizes in batches.items():
            tracks = {}
            for batch in sorted(sizes):
                limit = self.limit(cell, "speed", batch)
                bound = limit.bound if isinstance(limit, Limit) else None
                reported = bound is None and batch not in self.settings.gated
                tracks[batch] = self.rounds.track(batch, bound, reported=reported)
            self.rounds.add(cell, tracks)
        self._ablation_lanes(list(batches))
        self.rounds.add_controls()

    def _ablation_lanes(self, cells: list[Cell]) -> None:
        """Times for what pipelines pass through, where the run does not time them anyway."""
        batch = self.settings.batches[0]
        for cell in cells:
            for one in ablation.prefixes(self, cell):
                lane = self.rounds.lanes.get((one.id, False))
                if lane is None:
                    track = self.rounds.track(batch, None, reported=True)
                    self.rounds.add(one, {batch: track})
                elif batch not in lane.tracks:
                    lane.tracks[batch] = self.rounds.track(batch, None, reported=True)

    # Questions

    def limit(self, cell: Cell, gate: str, batch: int | None) -> Limit | NoExpectation:
        """What the policy holds this gate to here."""
        if gate == "accuracy" and cell.automatic:
            return self._goal(cell)
        facts = choices.facts(self, cell)
        limit = self.policy.limit(facts, gate, batch, self.capabilities[cell.target])
        # A line that names a batch size gates it, whether or not --batch asks for it.
        named = isinstance(limit, Limit) and "batch" in limit.keys
        if batch is not None and batch not in self.settings.gated and not named:
            return NoExpectation(
                f"batch {batch} is reported, not gated (--batch {batch} gates it)", "default"
            )
        return limit

    def _goal(self, cell: Cell) -> Limit | NoExpectation:
        """The accuracy limit of an automatic cell: the user's, or the policy's where none is."""
        stated = self.settings.goal.get("max_drop")
        if stated is None:
            return self.policy.limit(cell.facts, "accuracy", None, self.capabilities[cell.target])
        return Limit("accuracy", max=stated, reason="as stated", source="--max-drop")

    def settle(self) -> None:
        """Hold lanes of automatic cells to the limits of what was found, before they are timed."""
        for lane in self.rounds.lanes.values():
            if lane.cell.automatic and not lane.control and not lane.processes:
                for batch, track in lane.tracks.items():
                    limit = self.limit(lane.cell, "speed", batch)
                    track.limit = limit.bound if isinstance(limit, Limit) else None

    def ask(self, cell: Cell, gate: str, batch: int | None) -> Verdict:
        """The verdict of one gate: measured now, or with what was measured before.

        A gate for which --max-minutes leave no time is skipped, and none of its numbers is kept.
        """
        question = (cell, gate, batch)
        if question not in self._answers:
            if self.worker:
                self._learn(cell, gate)
            began = time.monotonic()
            try:
                verdict = verdicts.judge(self, cell, gate, batch)
            except TimeUp as up:
                self.time_up = str(up)
                pytest.skip(self.time_up)
            self._answers[question] = (verdict, time.monotonic() - began)
            self._verdicts.setdefault(cell, {})[gate, batch] = verdict
        return self._answers[question][0]

    def answered(self, cell: Cell) -> dict[tuple[str, int | None], Verdict]:
        """A cell's verdicts so far."""
        return self._verdicts.get(cell, {})

    def timed_cells(self) -> list[Cell]:
        """The cells that have a measured speed by now."""
        return [
            cell
            for cell, verdicts in self._verdicts.items()
            if any(gate == "speed" and one.value for (gate, _), one in verdicts.items())
        ]

    def _learn(self, cell: Cell, gate: str) -> None:
        """A worker of pytest-xdist learns by being asked which cells are its own to time.

        It has built them all before the first is timed (suites/distribution.py), so that they
        are timed in turns.
        """
        self._new.setdefault(cell, True)
        if gate in TIMED_GATES:
            self._lanes([one for one, new in self._new.items() if new])
            self._new = dict.fromkeys(self._new, False)

    def record_of(self, nodeid: str) -> dict[str, Any] | None:
        """The record of a test's verdict; None when the test ended before there was one."""
        question = self.selected[nodeid]
        if question not in self._answers:
            return None
        verdict, seconds = self._answers[question]
        return recording.verdict_record(self, question[0], verdict, seconds)

    def keep(self, nodeid: str, record: dict[str, Any]) -> None:
        """Take a verdict's record; the file is rewritten now and then, and at the end."""
        if not self.records:
            self.started = getattr(self, "started", time.time())
            self._saved = getattr(self, "_saved", time.monotonic())
        self.records[nodeid] = record
        self.progress.done = len(self.records)
        if time.monotonic() - self._saved > SAVE_EVERY_SECONDS:
            self.save(complete=False, interrupted="still running")
            self._saved = time.monotonic()

    def remaining(self) -> float:
        """Seconds that the rest will take, by earlier durations."""
        return expecting.remaining(self)

    @cached_property
    def policy_part(self) -> dict[str, Any]:
        """What the policy requires and waives, for the run's record."""
        return {"required": required_part(self), "waivers": waivers_part(self)}

    # The end

    def finish_controls(self) -> None:
        """Complete the A/A cells; there are none where nothing was timed."""
        try:
            self.rounds.finish_controls()
            self.training.rounds.finish_controls()
        except TimeUp as up:
            self.time_up = str(up)

    def header_parts(self) -> dict[str, Any]:
        """What this process adds to the run's record."""
        return recording.parts(self)

    def save(self, *, complete: bool, interrupted: str | None) -> None:
        """Write records.jsonl as far as there are records."""
        parts = [*self.shards, *([self.header_parts()] if self.begun else [])]
        header = recording.run_record(self, parts, complete=complete, interrupted=interrupted)
        run_id = header["run"]
        lines = triage.mark([{**record, "run": run_id} for record in self.records.values()])
        record_files.write(self.settings.report / record_files.FILE, header, lines)
        self.header = header

    def end(self, exitstatus: int) -> int:
        """Write everything; the exit status, which is pytest's own unless nothing was measured."""
        return exitstatus if self.worker else ending.end(self, exitstatus)

    @property
    def unmet(self) -> list[required.Unmet]:
        """What the policy requires of a release and this run does not answer."""
        return required.unmet(self.header, self.records.values())

    @property
    def stale_waivers(self) -> list[waivers.Stale]:
        """Waivers that hide nothing any more; left in the policy they hide the next failure."""
        return waivers.stale(self.header, self.records.values())

    def close(self) -> None:
        self.progress.close()
        if hasattr(self, "engine"):
            self.engine.close()
