"""Runs the stages of cells in workers and remembers what they gave."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gauge.cache import Cache, DamagedEntry, Entry, digest
from gauge.isolation import Outcome, Workers
from gauge.length import Length
from gauge.order import candidate_first
from gauge.turns import LockError
from gauge.verdict import Status
from suites import adopting, keys, matrix
from suites.built import Built
from suites.catalog import ROOT, Catalog
from suites.deadline import Deadline
from suites.durations import Durations
from suites.journal import Journal, Process
from suites.matrix import Cell
from suites.options import Settings
from suites.progress import Progress
from suites.sections import CPU, Sections

RELOAD_BATCHES = (1, 3, 32)
REFUSALS = ("Refused", "Unavailable")
ASKING = ("plugins", "probe")
"""Jobs that only ask what there is, and on which device."""

OF_START = ("bn_unchanged",)
"""Claims about what the last stage began with, not about FP32."""

PRELOAD = ("suites.preload",)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Stopped(Exception):
    """A cell that cannot go on: refused, or an error. The message is the reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Baseline:
    """A model's FP32 weights (a cache entry) and its checked outputs on one device."""

    weights: Entry
    outputs: Path
    facts: dict[str, Any]


@dataclass
class Engine:
    """Stages on demand, each at most once: prepare, baseline, apply, examine, memory, speed."""

    settings: Settings
    catalog: Catalog
    progress: Progress
    process: Process
    notices: list[str] = field(default_factory=list)
    built: int = 0
    artifact_keys: dict[Cell, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = Cache(self.settings.cache)
        self.store = Built(self.cache)
        self.sections = Sections(self.progress)
        self.durations = Durations(self.settings.cache / "durations.json")
        self.state = self.settings.state
        self.deadline = Deadline(self.settings.max_minutes)
        self.journal = Journal(
            self.state / "journal",
            self.process,
            keys.identity(self.catalog, self.settings),
            resume=self.settings.resume,
        )
        if self.settings.resume and self.journal.changed:
            self.notices.append(
                "--resume: measuring everything again, since these changed: "
                + ", ".join(self.journal.changed)
            )
        self.logs = self.state / "logs" / self.process.name
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.workers = Workers(PRELOAD, self._environment())
        self._memo: dict[Any, Any] = {}

    def _environment(self) -> dict[str, str]:
        threads = str(self.settings.threads.count)
        environment = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads
        )

        path = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{ROOT}:{path}" if path else str(ROOT)
        environment["HF_HUB_OFFLINE"] = environment["TRANSFORMERS_OFFLINE"] = "1"
        environment["TOKENIZERS_PARALLELISM"] = "false"
        # What inductor compiled once is found again by the next process.
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self.settings.cache / "inductor")
        # cuBLAS is deterministic only with a fixed workspace, set before CUDA starts.
        environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        if self.settings.imagenet:
            environment["OPTGAUGE_IMAGENET"] = str(self.settings.imagenet)
        return environment

    def close(self) -> None:
        self.workers.close()
        self.journal.close()
        self.durations.save()

    # Jobs

    def job(
        self,
        function: str,
        label: str,
        stage: str,
        arguments: dict[str, Any],
        *,
        keep: bool = True,
        shown: bool = True,
        timed: bool = False,
    ) -> Any:
        """Run `suites.jobs:function` in a worker; Stopped when it refuses, fails or crashes.

        TimeUp when --max-minutes are over, unless the journal knows the result.
        keep: whether the journal holds the result for --resume. shown: whether people see it.
        timed: alone on its device, which nothing else of this host uses meanwhile.
        """
        arguments = {**self._common(), **arguments}
        question = [function, arguments]
        if keep:
            known = self.journal.get(question)
            if known is not None:
                return known
        if function not in ASKING:
            self.deadline.check()
        if shown:
            self.progress.start(label, stage)
        log = self.logs / f"{label}.{stage}.log"
        devices = [CPU] if function in ASKING else self._devices(arguments.get("target"))
        try:
            with self.sections.hold(devices, label, stage, timed=timed) as waited:
                outcome = self.workers.run(
                    f"suites.jobs:{function}",
                    arguments,
                    log=log,
                    timeout=self.settings.cell_timeout,
                    memory_bytes=self.settings.cell_memory,
                    tick=self.progress.tick,
                )
        except LockError as error:
            raise Stopped(Status.ERROR, f"{stage}: {error}") from error
        if outcome.kind != "ok":
            raise self._stopped(outcome, stage)
        if shown:
            self.durations.add(label, stage, outcome.seconds)
        seconds = {"seconds": round(outcome.seconds, 3), "waited_s": round(waited, 3)}
        result = {**outcome.result, **seconds}
        if keep:
            self.journal.put(question, result)
        return result

    def _common(self) -> dict[str, Any]:
        return {
            "plugins": [str(path) for path in self.settings.plugins],
            "threads": self.settings.threads.count,
            "seed": self.settings.seed,
        }

    def _stopped(self, outcome: Outcome, stage: str) -> Stopped:
        if outcome.error_type in REFUSALS:
            return Stopped(Status.REFUSED, outcome.message or "refused without a reason")
        return Stopped(Status.ERROR, f"{stage}: {outcome.problem}")

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value made earlier for this key, or the same Stopped again."""
        if key not in self._memo:
            try:
                self._memo[key] = make()
            except Stopped as stopped:
                self._memo[key] = stopped
        value = self._memo[key]
        if isinstance(value, Stopped):
            raise value
        return value

    def known(self, stage: str, cell: Cell) -> bool:
        """Whether a cell's stage has been done (or has stopped) in this run."""
        return (stage, cell) in self._memo

    def results(self) -> list[tuple[Any, Any]]:
        """What stages gave so far, without those that stopped."""
        return [(k, v) for k, v in self._memo.items() if not isinstance(v, Stopped)]

    # The cache

    def cached(
        self, kind: str, key: dict[str, Any], build: Callable[[Path], dict[str, Any]]
    ) -> Entry:
        """The entry of a kind that a key names: as it was kept, or built now in a folder."""
        name = digest(key)
        with self.cache.lock(kind, name):
            try:
                entry = self.store.find(kind, key)
            except DamagedEntry as damage:
                told = "dropped" if self.settings.stage == "measure" else "built again"
                self.notices.append(f"damaged cache entry, {told}: {damage}")
                self.progress.line(self.notices[-1], "yellow")
                self.cache.drop(kind, name)
                entry = None
            if entry is not None:
                return entry
            if self.settings.stage == "measure":
                status, reason = self.store.lacking(kind, key)
                raise Stopped(status, reason)
            with self.cache.scratch() as directory:
                try:
                    meta = build(directory)
                except Stopped as stopped:
                    if self.settings.stage == "build":
                        self.store.note(key, stopped.status, str(stopped))
                    raise
                self.built += 1
                return self.cache.store(kind, name, directory, meta, key)

    # Stages

    def weights(self, model: str) -> Entry:
        """The model's FP32 weights: trained or loaded now, or from the cache."""

        def build(directory: Path) -> dict[str, Any]:
            arguments = {"model": model, "directory": str(directory)}
            return self.job("prepare", model, "train", arguments, keep=False)

        def make() -> Entry:
            return self.cached("weights", keys.weights(self.catalog, model, self.settings), build)

        return self.once(("weights", model), make)

    def device_of(self, target: str) -> str:
        """The FP32 target that this one is compared with."""
        return self.catalog.targets[target].attributes["baseline"]

    def baseline(self, model: str, target: str) -> Baseline:
        """The model's checked FP32 baseline on the target's device."""
        device = self.device_of(target)

        def make() -> Baseline:
            weights = self.weights(model)
            outputs = self.state / f"baseline-{model}-{device}.npz"
            arguments = {
                "model": model,
                "target": device,
                "weights": str(weights.path),
                "sha256": weights.meta["sha256"],
                "outputs": str(outputs),
                "examples": str(self._examples(model, device)),
                "example_batches": sorted({*RELOAD_BATCHES, *self.settings.batches, 4}),
            }
            facts = self.job("baseline", f"{model}-{device}", "baseline", arguments)
            return Baseline(weights, outputs, {**weights.meta, **facts})

        return self.once(("baseline", model, device), make)

    def arm(self, cell: Cell) -> dict[str, Any]:
        """The job arguments that name a cell's baseline."""
        baseline = self.baseline(cell.model, cell.target)
        return {
            "model": cell.model,
            "target": cell.target,
            "baseline_target": self.device_of(cell.target),
            "weights": str(baseline.weights.path),
            "sha256": baseline.weights.meta["sha256"],
            "examples": str(self._examples(cell.model, self.device_of(cell.target))),
        }

    def _examples(self, model: str, device: str) -> Path:
        return self.state / f"examples-{model}-{device}.pt"

    def artifact(self, cell: Cell) -> Entry:
        """The cell's saved artifact: optimised now, or from the cache."""

        def build(directory: Path, kept: Path) -> dict[str, Any]:
            start = self._start(cell)
            workdir = tempfile.mkdtemp(prefix="work-", dir=self.cache.root)
            arguments = {
                **self.arm(cell),
                "stages": [[stage.technique, dict(stage.params)] for stage in cell.stages],
                "batches": list(RELOAD_BATCHES),
                "directory": str(directory),
                "workdir": workdir,
                "before": start.meta["stages"] if start else [],
                "start": str(start.path) if start else None,
                "budget": keys.budgeted(self.catalog, cell, self.settings),
                "kept": str(kept),
                "goal": keys.goal(cell, self.settings),
            }
            try:
                # A search times its trials: alone on its device, like any timing.
                timed = bool(arguments["goal"])
                made = self.job("apply", cell.id, "apply", arguments, keep=False, timed=timed)
            finally:
                shutil.rmtree(workdir, ignore_errors=True)
            # Only now: a search that was stopped, or ran out of time, goes on from here.
            shutil.rmtree(kept, ignore_errors=True)
            adopting.adopt(self, cell, made, directory)
            return made

        return self.keep(cell, build)

    def keep(self, cell: Cell, build: Callable[[Path, Path], dict[str, Any]]) -> Entry:
        """The cell's artifact from the cache, or as it is built now.

        build: given the folder for it, and one that outlives a stopped search, returns the meta.
        """

        def make() -> Entry:
            sha256 = self.baseline(cell.model, cell.target).weights.meta["sha256"]
            techniques = [stage.technique for stage in cell.stages]
            arguments = {**self.arm(cell), "techniques": techniques}
            considered = self.job(
                "consider", cell.id, "refuses", arguments, keep=False, shown=False
            )
            key = keys.artifact(self.catalog, cell, self.settings, sha256, considered["files"])
            self.artifact_keys[cell] = digest(key)
            kept = self.cache.path("unfinished", digest(key))
            entry = self.cached("artifacts", key, lambda directory: build(directory, kept))
            # Its key says so as well; an entry whose key was rewritten is caught here.
            if entry.meta.get("weights", sha256) != sha256:
                raise Stopped(
                    Status.ERROR, f"stale cache: {entry.path} was made from other weights"
                )
            return entry

        return self.once(("artifact", cell), make)

    def _start(self, cell: Cell) -> Entry | None:
        """What a pipeline's last stage starts from: the artifact of the stages before it.

        All pipelines that begin alike share it, and it is a cell that can be told by itself.
        """
        earlier = matrix.prefixes(self.catalog, cell, self.device_of(cell.target))
        return self.artifact(earlier[-1]) if earlier else None

    def _held_against(self, cell: Cell, entry: Entry) -> str | None:
        """The folder of what the last stage started from, where a claim is about that."""
        if not set(OF_START) & set(entry.meta["claims"]):
            return None
        if cell.automatic:
            stages = entry.meta["stages"][len(cell.stages) :]
            cell = matrix.made(self.catalog, cell.model, stages, cell.target)
        start = self._start(cell)
        return str(start.path) if start else None

    def examined(self, cell: Cell) -> dict[str, Any]:
        """Reload, evidence, accuracy, fidelity and size of the reloaded artifact."""

        def make() -> dict[str, Any]:
            entry = self.artifact(cell)
            baseline = self.baseline(cell.model, cell.target)
            samples = self.settings.report / "samples"
            samples.mkdir(parents=True, exist_ok=True)
            arguments = {
                **self.arm(cell),
                "artifact": str(entry.path),
                "claims": entry.meta["claims"],
                "stages": entry.meta["stages"],
                "start": self._held_against(cell, entry),
                "batches": list(RELOAD_BATCHES),
                "baseline_outputs": str(baseline.outputs),
                "samples": str(samples / f"{cell.id}.npz"),
                "cell": cell.id,
            }
            return self.job("examine", cell.id, "examine", arguments)

        return self.once(("examined", cell), make)

    def memory(self, cell: Cell, batch: int, number: int, *, candidate: bool) -> dict[str, Any]:
        """Peak memory of one arm in a process of its own."""
        device = self.device_of(cell.target)
        key = ("memory", batch, number, cell if candidate else (cell.model, device))

        def make() -> dict[str, Any]:
            arguments = {**self.arm(cell), "batch": batch, "artifact": None, "number": number}
            label = cell.id
            if candidate:
                arguments["artifact"] = str(self.artifact(cell).path)
            else:
                arguments["target"] = device
                label = f"{cell.model}-{device}"
            return self.job("memory", label, "memory", arguments)

        return self.once(key, make)

    def speed_process(
        self,
        cell: Cell,
        lengths: dict[int, Length],
        number: int,
        label: str,
        *,
        control: bool,
        earlier: Path | None = None,
    ) -> dict[str, Any]:
        """One process that times baseline and candidate (or, for A/A, its copy) in turns.

        lengths: how long to time each batch size, warm-up not counted. earlier: an artifact to
        take the baseline's place.
        """
        arguments = {
            **self.arm(cell),
            "artifact": None if control else str(self.artifact(cell).path),
            "batches": list(lengths),
            "lengths": {str(batch): asdict(length) for batch, length in lengths.items()},
            "number": number,
            "candidate_first": candidate_first(self.settings.seed, label, number),
            "cache_mode": self.settings.cache_mode,
        }
        if earlier is not None:
            arguments["earlier"] = str(earlier)
            return self.job("confirm", label, "speed", arguments, timed=True)
        return self.job("speed", label, "speed", arguments, timed=True)

    def _devices(self, target: str | None) -> list[str]:
        """The devices that a job on this target uses, its own first."""
        own = [] if target is None else [self.probe(target)["unit"]]
        return list(dict.fromkeys([*own, CPU]))

    def probe(self, target: str) -> dict[str, Any]:
        """Whether the target can be used here, its capabilities and fixed settings."""
        make = lambda: self.job("probe", target, "probe", {"target": target}, keep=False)  # noqa: E731
        return self.once(("probe", target), make)
