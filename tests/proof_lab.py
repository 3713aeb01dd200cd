"""Where the proof times gates: the suites' own workers, jobs, tracks and judge, on small models."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gauge import sequential
from gauge.isolation import Workers
from gauge.judge import judge_speed
from gauge.length import Length
from gauge.order import candidate_first
from gauge.policy_entry import Limit
from gauge.turns import Turns
from suites.engine import PRELOAD, THREAD_VARIABLES
from suites.rounds import BRIEF, Track

HERE = Path(__file__).resolve().parent
MODELS = ("proof_mlp", "proof_lstm", "proof_conv")
BATCH = 8
TIMEOUT_S = 120.0
ENERGY_PROCESSES = 2


class Lab:
    """Workers and what they need; a context manager. `process` is one timing process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="optgauge-proof-")
        self.folder = Path(self._folder.name)
        environment = dict.fromkeys(THREAD_VARIABLES, "1")
        environment["PYTHONPATH"] = f"{HERE.parent}:{HERE}"
        self.workers = Workers(PRELOAD, environment)
        self._weights: dict[str, Path] = {}
        self._hashes: dict[str, str] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.workers.close()
        self._folder.cleanup()

    def job(self, function: str, model: str, **arguments: Any) -> dict[str, Any]:
        """The result of a job, and its seconds. RuntimeError where it does not end well."""
        common = {
            "plugins": [str(HERE / "proof_models.py")],
            "threads": 1,
            "seed": 0,
            "model": model,
            "target": "cpu",
            "baseline_target": "cpu",
        }
        log = self.folder / "log"
        outcome = self.workers.run(function, common | arguments, log=log, timeout=TIMEOUT_S)
        if outcome.kind != "ok":
            last = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{function} on {model}: {outcome.problem}\n{last}")
        return {**outcome.result, "seconds": outcome.seconds}

    def weights(self, model: str) -> Path:
        """The folder with the model's weights, saved as the suites save them."""
        if model not in self._weights:
            folder = self.folder / model
            folder.mkdir()
            found = self.job("suites.jobs:prepare", model, directory=str(folder))
            self._weights[model], self._hashes[model] = folder, found["sha256"]
        return self._weights[model]

    def slowed(self, model: str, share: float) -> tuple[Path, int]:
        """An artifact with real extra work of about that share of the model's time; (its, size)."""
        weights = str(self.weights(model))
        found = self.job(
            "proof_jobs:products", model, weights=weights, batch=BATCH, seconds=1.0, share=share
        )
        folder, workdir = self.folder / f"{model}-slowed", self.folder / f"{model}-work"
        folder.mkdir()
        workdir.mkdir()
        self.job(
            "suites.jobs:apply",
            model,
            weights=weights,
            stages=[["proof_slowed", {"products": found["products"]}]],
            batches=[BATCH],
            directory=str(folder),
            workdir=str(workdir),
            before=[],
            start=None,
            budget={},
            kept=str(workdir / "kept"),
            goal={},
            sha256=self._hashes[model],
        )
        return folder, found["products"]

    def process(
        self, model: str, number: int, seed: int, length: Length, artifact: Path | None = None
    ) -> dict[str, Any]:
        """One fresh process that times baseline and candidate in turns, as suites.jobs does it."""
        # Two proofs, or a proof and a run of the suites, never time at once.
        with Turns("cpu").hold(exclusive=True):
            found = self.job(
                "suites.jobs:speed",
                model,
                weights=str(self.weights(model)),
                artifact=str(artifact) if artifact else None,
                batches=[BATCH],
                lengths={str(BATCH): dataclasses.asdict(length)},
                candidate_first=candidate_first(seed, model, number),
                cache_mode="warm",
                number=ENERGY_PROCESSES,  # no process of the proof measures energy
                seed=seed,
            )
        return {**found["batches"][str(BATCH)], "seconds": found["seconds"]}


def usual(seconds: float) -> Length:
    """How long processes of the proof take where a verdict is not yet plain."""
    return Length(seconds, least_blocks=max(1, round(seconds / 0.05)))


class FirstRun(Track):
    """A track that ends with its first run: no second one confirms what it says."""

    @property
    def open(self) -> bool:
        undecided = self._call(0) is sequential.Outcome.CONTINUE
        return undecided and not (self.stopped or self.invalid)


@dataclasses.dataclass
class Gate:
    """One candidate, the limits it is held to, and the processes that time it.

    A turn's process goes to each limit that still asks for one of its length: each limit's
    sequence is a valid one by itself, though two limits of one gate are not independent of each
    other. brief: log-ratios of the processes that went to limits which were far away.
    """

    index: int
    model: str
    tracks: dict[str, Track]
    artifact: Path | None = None
    number: int = 0
    processes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    brief: list[float] = dataclasses.field(default_factory=list)
    spent: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def open(self) -> bool:
        return any(track.open for track in self.tracks.values())

    def time(self, lab: Lab, seconds: float) -> None:
        asking = {name: track for name, track in self.tracks.items() if track.open}
        if self.number % 2 and any(not track.runs[-1] for track in asking.values()):
            self.number += 1  # a fresh run begins with a pair of its own, as in suites.rounds
        far = {name: track.far for name, track in asking.items()}
        for brief in sorted(set(far.values())):
            length = BRIEF if brief else usual(seconds)
            found = lab.process(self.model, self.number, self.index, length, self.artifact)
            if brief:
                self.brief.append(found["log_ratio"])
            else:
                self.processes.append(found)
            for name in (name for name in asking if far[name] is brief):
                asking[name].add(found)
                self.spent[name] = self.spent.get(name, 0.0) + found["seconds"]
        self.number += 1

    def ratios(self) -> list[float]:
        return [one["log_ratio"] for one in self.processes]

    def line(self) -> dict[str, Any]:
        """What is kept: log-ratios to six decimals, what each limit led to, what was seen."""
        seen = [one["monitors"] for one in self.processes if one.get("monitors")]
        return {
            "index": self.index,
            "model": self.model,
            "ratios": [round(value, 6) for value in self.ratios()],
            **({"brief": [round(value, 6) for value in self.brief]} if self.brief else {}),
            "verdicts": {name: verdict(track) for name, track in self.tracks.items()},
            "spent_s": {name: round(value, 2) for name, value in self.spent.items()},
            "seconds": round(sum(one["seconds"] for one in self.processes), 2),
            "unsettled": sum(not one["warmup"]["settled"] for one in self.processes),
            "others": _middle([one["others"] for one in seen]),
            "steal": _middle([one["steal"] for one in seen]),
        }


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 4) if known else None


def verdict(track: Track) -> dict[str, Any]:
    """What the suites' judge says of a track, and what its first run said by itself."""
    assert track.limit is not None
    first, confirming = track.deciding()
    judged = judge_speed(
        {
            "first": [one["log_ratio"] for one in first],
            "confirming": [one["log_ratio"] for one in confirming] if confirming else None,
            "invalid": track.invalid,
            "blocks": [one["blocks"] for one in (*first, *(confirming or ()))],
            "devices": [one["monitors"]["device"] for one in (*first, *(confirming or ()))],
        },
        Limit("speed", min=track.limit, source="proof"),
        track.looks,
    )
    alone = sequential.decide(track.ratios(0), track.limit, track.looks)
    return {
        "status": judged.status.value,
        "first": alone.status.value,
        "look": alone.look,
        "limit": round(track.limit, 6),
        "reason": judged.reason if judged.status.value in ("ERROR", "INCONCLUSIVE") else None,
    }


def round_robin(lab: Lab, gates: Sequence[Gate], seconds: float) -> None:
    """One process of each open gate in turns, never one gate's back to back, until all close."""
    while any(gate.open for gate in gates):
        for gate in gates:
            if gate.open:
                gate.time(lab, seconds)


def sigma(lines: Sequence[dict[str, Any]]) -> float | None:
    """SD of a log-ratio between processes, pooled within gates; None with too few processes."""
    total, count = 0.0, 0
    for line in lines:
        values = line["ratios"]
        if len(values) > 1:
            total += statistics.variance(values) * (len(values) - 1)
            count += len(values) - 1
    return math.sqrt(total / count) if count else None


def now() -> float:
    """Seconds of a clock that only moves on."""
    return time.monotonic()
