"""One run: what was asked, the engine that answers, and the verdicts so far."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from gauge import triage
from gauge.machine import FLAGS, packages_problem
from gauge.policy import Known, Limit, NoExpectation, Policy, PolicyError
from gauge.turns import LockError
from gauge.verdict import DEPLOYMENTS, Verdict, deployment_of
from reports import records as record_files
from reports.records import Records
from suites import (
    ablation,
    edge,
    exporting,
    matrix,
    options,
    plan,
    recording,
    serving,
    usual,
    verdicts,
)
from suites import catalog as catalogs
from suites import certified as certificates
from suites.catalog import ROOT, Catalog
from suites.certified import Certified
from suites.engine import Engine
from suites.journal import Process
from suites.matrix import Cell
from suites.options import Settings
from suites.progress import Progress
from suites.rounds import Rounds

SAVE_EVERY_SECONDS = 10.0

Question = tuple[Cell, str, int | None]


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
    certified: Certified
    deployments: tuple[str, ...] = ()
    deployed: list[Cell] = field(default_factory=list)
    worker: bool = False
    selected: dict[str, Question] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: list[dict[str, Any]] = field(default_factory=list)
    begun: bool = False
    unexported: bool = False

    @classmethod
    def create(cls, config: pytest.Config) -> Run:
        """Read options, catalogue, cells and policy; nothing is started."""
        settings = options.read(config.option, ROOT)
        catalog = catalogs.read(settings.plugins)
        cells = matrix.cells(
            catalog,
            matrix=settings.matrix,
            targets=settings.targets,
            models=settings.models,
            techniques=settings.techniques,
        )
        named = matrix.named_paths(config)
        deployments = tuple(
            name for name in DEPLOYMENTS if ROOT / "suites" / f"test_{name}.py" in named
        )
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
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        progress = Progress(quiet=reporter is None or config.option.verbose < 0)
        words = config.invocation_params.args
        return cls(
            settings,
            catalog,
            cells,
            policy,
            progress,
            recording.command_line(words),
            Process.of(config),
            certified,
            deployments,
            deployed,
            worker=hasattr(config, "workerinput"),
        )

    def cells_of(self, gate: str) -> list[Cell]:
        """The cells that a gate is asked of."""
        return self.cells if deployment_of(gate) is None else self.deployed

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
        self.started = time.time()
        self._saved = time.monotonic()
        self.run_id = recording.new_run_id(self.started)
        self._prepare_folder()
        self.engine = Engine(self.settings, self.catalog, self.progress, self.process)
        try:
            self.engine.sections.check()
        except LockError as error:
            raise pytest.UsageError(str(error)) from error
        self._check_plugins()
        self.capabilities = {name: self._capabilities(name) for name in self._targets()}
        self.rounds = Rounds(self.engine, self.settings.effort)
        self.edge = edge.Edge(self.engine, self.settings.effort)
        self.serving = serving.Serving(self.engine)
        self._undecidable()
        self._new: dict[Cell, bool] = {}
        if not self.worker:
            self._lanes(self.asked_cells)
        self.progress.remaining = self.remaining
        self._answers: dict[Question, tuple[Verdict, float]] = {}
        self.begun = True

    def _prepare_folder(self) -> None:
        report = self.settings.report
        try:
            report.mkdir(parents=True, exist_ok=True)
            probe = report / ".writable"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise pytest.UsageError(f"--report {report}: cannot be written ({error})") from error
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

    def _lanes(self, cells: list[Cell]) -> None:
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
        limit = self.policy.limit(cell.facts, gate, batch, self.capabilities[cell.target])
        # A line that names a batch size gates it, whether or not --batch asks for it.
        named = isinstance(limit, Limit) and "batch" in limit.keys
        if batch is not None and batch not in self.settings.gated and not named:
            return NoExpectation(
                f"batch {batch} is reported, not gated (--batch {batch} gates it)", "default"
            )
        return limit

    def ask(self, cell: Cell, gate: str, batch: int | None) -> Verdict:
        """The verdict of one gate: measured now, or with what was measured before."""
        question = (cell, gate, batch)
        if question not in self._answers:
            if self.worker:
                self._learn(cell, gate)
            began = time.monotonic()
            verdict = verdicts.judge(self, cell, gate, batch)
            self._answers[question] = (verdict, time.monotonic() - began)
        return self._answers[question][0]

    def _learn(self, cell: Cell, gate: str) -> None:
        """A worker of pytest-xdist learns by being asked which cells are its own to time.

        It has built them all before the first is timed (suites/distribution.py), so that they
        are timed in turns.
        """
        self._new.setdefault(cell, True)
        if gate == "speed":
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
        guess = self.engine.durations.guess
        total = self.rounds.expected()
        built = set()
        for nodeid, (cell, gate, _) in self.selected.items():
            if nodeid in self.records or gate == "speed":
                continue
            if gate == "memory":
                total += guess(cell.id, "memory")
            elif deployment_of(gate):
                total += serving.expected(self.engine.durations, cell, gate)
                total += edge.expected(self.engine.durations, cell, gate)
            elif cell not in built and not self.engine.known("examined", cell):
                built.add(cell)
                total += guess(cell.id, "examine")
                if not self.engine.known("artifact", cell):
                    total += guess(cell.id, "apply")
        return total

    # The end

    def finish_controls(self) -> None:
        """Complete the A/A cells, when anything was timed."""
        if any(gate == "speed" for _, gate, _ in self.selected.values()):
            self.rounds.finish_controls()

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
        if self.worker:
            return exitstatus
        missing = set(self.selected) - set(self.records)
        interrupted = recording.interruption(exitstatus, len(missing), self.settings.gate)
        self.save(complete=interrupted is None, interrupted=interrupted)
        self._remember_speeds()
        self._remember_certified()
        if self.settings.export:
            self._export()
        recording.render(self)
        measured = [one for one in self.records.values() if recording.measured(one)]
        if not measured and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            failed = exitstatus == pytest.ExitCode.TESTS_FAILED
            return exitstatus if failed else int(pytest.ExitCode.NO_TESTS_COLLECTED)
        if self.settings.gate == "release" and self.header["contaminated"] and exitstatus == 0:
            return int(pytest.ExitCode.TESTS_FAILED)
        return exitstatus

    def _export(self) -> None:
        if not self.begun:
            # The controller of pytest-xdist measured nothing itself; all is in the cache.
            run = next((part["process"] for part in self.shards), self.process.run)
            process = Process("controller", run)
            self.engine = Engine(self.settings, self.catalog, self.progress, process)
            measured = {record["id"] for record in self.records.values()}
            self.asked_cells = [cell for cell in self.cells if cell.id in measured]
            self.run_id = self.header["run"]
        exporting.export(self)

    def _remember_speeds(self) -> None:
        known = usual.Usual(self.settings.cache / usual.FILE)
        for record in self.records.values():
            known.add(record)
        known.save()

    def _remember_certified(self) -> None:
        """What the gates certified, for the suites that put artifacts under load."""
        if all(deployment_of(record["gate"]) for record in self.records.values()):
            return
        self.certified.add(Records(self.header, list(self.records.values())))
        self.certified.save()

    def idle_waivers(self) -> list[str]:
        """Waivers that hide nothing any more; left in the policy they hide the next failure."""
        lines = [
            f"{found['evidence']['waiver']['source']}: the waiver for {found['id']} "
            f"{found['gate']} is no longer needed; remove it"
            for found in self.records.values()
            if found["evidence"].get("waiver", {}).get("unneeded")
        ]
        if not self.policy.waivers:
            return lines
        everything = matrix.cells(self.catalog, matrix="full", targets=["*"])
        facts = [cell.facts for cell in {*everything, *self.cells, *self.deployed}]
        unmatched = self.policy.unmatched_waivers(facts, self.settings.batches)
        return lines + [
            f"{waiver.source}: the {waiver.gate} waiver covers no cell that there is"
            for waiver in unmatched
        ]

    def close(self) -> None:
        self.progress.close()
        if hasattr(self, "engine"):
            self.engine.close()
