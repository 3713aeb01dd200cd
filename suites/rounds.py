"""Timing processes of all cells in turns: one process of each open cell, round after round.

One cell's processes are never taken back to back: what disturbs the machine for some seconds
would then look like that cell's own speed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gauge.length import Length
from gauge.sequential import LOOKS as ALL_LOOKS
from gauge.sequential import QUICK_LOOKS, Outcome, decide
from gauge.verdict import Status
from suites.durations import Durations
from suites.engine import Stopped
from suites.matrix import Cell
from suites.options import Settings

LOOKS = {"quick": QUICK_LOOKS, "standard": ALL_LOOKS, "thorough": ALL_LOOKS}
CONTROLS = 5
# Between-process SD was no better with longer processes. Single calls are for percentiles.
GATED = Length(seconds=0.6, least_blocks=6, single_seconds=0.2)
BARE = Length(seconds=0.6, least_blocks=6)
"""Where nobody asks for percentiles: A/A cells, confirmed regressions, an edge's calls."""
REPORTED = Length(seconds=0.3, least_blocks=1)
"""A batch size that decides nothing."""
BRIEF = Length(seconds=0.08, least_blocks=4, segment=0.005)
"""Once a cell is far below its limit, more processes are needed and not more of each: its FAIL
takes up to 12. Four blocks are the fewest that the steady-state check looks at."""

FAR = math.log(1.25)
"""How far below its limit every block must lie: sharing a core moves a process by 5 to 15 %."""

MOVING = 0.1
"""Change of a log-ratio from a process's first block to its last that keeps processes long."""

# With cold caches most of the time goes into emptying them, and a segment holds a call or two.
COLD_TIMES = 4


@dataclass
class Track:
    """The processes that timed one cell at one batch size, and whether more are needed.

    limit: the ratio to clear, None when the batch is only reported. runs: one list of processes'
    measurements for each fresh sequence (a later one confirms a FAIL or repeats a close call).
    """

    batch: int
    limit: float | None
    looks: Sequence[int]
    repeat_inconclusive: bool = False
    runs: list[list[dict[str, Any]]] = field(default_factory=lambda: [[]])
    reported: bool = False
    stopped: Stopped | None = None
    invalid: str | None = None

    @property
    def open(self) -> bool:
        if self.stopped or self.invalid:
            return False
        if self.limit is None:
            return len(self.runs[0]) < self.looks[0]
        status = self._call(-1)
        if status is Outcome.CONTINUE:
            return True
        before = self._call(-2) if self.runs[1:] else None
        confirm = status is Outcome.FAIL and before is not Outcome.FAIL
        repeat = status is Outcome.INCONCLUSIVE and before is None and self.repeat_inconclusive
        if confirm or repeat:
            self.runs.append([])
            return True
        return False

    @property
    def far(self) -> bool:
        """Whether every block so far lies so far below the limit that none need be precise.

        Blocks, and none that move: what is not steady is to be seen for its full length.
        """
        if self.limit is None:
            return False
        processes = [process for run in self.runs for process in run]
        blocks = [one for process in processes for one in process["blocks"]]
        moving = max((abs(process["trend"]) for process in processes), default=0.0)
        return bool(blocks) and max(blocks) <= math.log(self.limit) - FAR and moving <= MOVING

    @property
    def length(self) -> Length:
        """How long its next process takes."""
        if self.reported:
            return REPORTED
        return BRIEF if self.far else GATED

    def _call(self, run: int) -> Outcome:
        assert self.limit is not None
        return decide(self.ratios(run), self.limit, self.looks).status

    def deciding(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        """The run that decides and the one that confirms it; a repeated close call is left out."""
        runs = self.runs
        if len(runs) > 1 and self._call(0) is Outcome.INCONCLUSIVE:
            runs = runs[1:]
        return runs[0], runs[1] if len(runs) > 1 else None

    def ratios(self, run: int) -> list[float]:
        return [process["log_ratio"] for process in self.runs[run]]

    def add(self, process: dict[str, Any]) -> None:
        if process.get("refused"):
            self.stopped = Stopped(Status.REFUSED, process["refused"])
        elif process.get("invalid"):
            self.invalid = process["invalid"]
        else:
            self.runs[-1].append(process)


@dataclass
class Lane:
    """One cell (or A/A control) and its tracks, timed together in the same processes.

    repeated: why the one process that was measured once more did not count, or None. earlier: an
    artifact that takes the baseline's place, to confirm a regression.
    """

    cell: Cell
    tracks: dict[int, Track]
    control: bool = False
    processes: int = 0
    number: int = 0
    seconds: float = 0.0
    repeated: str | None = None
    earlier: Path | None = None

    def length(self, batch: int) -> Length:
        """How long the next process times a batch size."""
        wanted = self.tracks[batch].length
        return BARE if wanted == GATED and (self.control or self.earlier) else wanted

    def open_batches(self) -> list[int]:
        return [batch for batch, track in self.tracks.items() if track.open]


class Timer(Protocol):
    """What rounds ask of suites.engine, or of what times something else than an inference."""

    settings: Settings
    durations: Durations

    def device_of(self, target: str) -> str: ...

    def speed_process(
        self,
        cell: Cell,
        lengths: dict[int, Length],
        number: int,
        label: str,
        *,
        control: bool,
        earlier: Path | None = None,
    ) -> dict[str, Any]: ...


class Rounds:
    """All lanes of a run; `until` times rounds until one track is decided.

    controls: what A/A cells are called, beside their model and target.
    """

    def __init__(self, engine: Timer, effort: str, controls: str = "AA") -> None:
        self.engine = engine
        self.controls = controls
        self.looks = LOOKS[effort]
        self.thorough = effort == "thorough"
        self.lanes: dict[tuple[str, bool], Lane] = {}
        self._turn = 0

    def track(self, batch: int, limit: float | None, *, reported: bool) -> Track:
        return Track(batch, limit, self.looks, self.thorough, reported=reported)

    def add(self, cell: Cell, tracks: dict[int, Track], earlier: Path | None = None) -> None:
        self.lanes[cell.id, False] = Lane(cell, tracks, earlier=earlier)

    def add_controls(self) -> None:
        """A/A cells: FP32 against its own copy, for up to five of the models being timed."""
        first: dict[tuple[str, str], Cell] = {}
        for lane in self.lanes.values():
            device = self.engine.device_of(lane.cell.target)
            first.setdefault((lane.cell.model, device), lane.cell)
        for cell in list(first.values())[:CONTROLS]:
            if (cell.id, True) not in self.lanes:
                track = Track(1, None, (self.looks[-1],))
                self.lanes[cell.id, True] = Lane(cell, {1: track}, control=True)

    def until(self, cell: Cell, batch: int) -> Track:
        """Time processes, all open lanes in turns, until this track needs no more."""
        lane = self.lanes[cell.id, False]
        while lane.tracks[batch].open:
            self._step()
        return lane.tracks[batch]

    def finish_controls(self) -> None:
        """Give the A/A cells the processes they still lack."""
        while any(lane.control and lane.open_batches() for lane in self.lanes.values()):
            self._step(controls_only=True)

    def expected(self) -> float:
        """Seconds that timing will still take, if decided lanes stop and others take a third."""
        total = 0.0
        for lane in self.lanes.values():
            if lane.open_batches():
                wanted = self.looks[-1] if lane.control else self.looks[min(1, len(self.looks) - 1)]
                left = max(1, wanted - lane.processes)
                total += left * self.engine.durations.guess(self._label(lane), "speed")
        return total

    def _label(self, lane: Lane) -> str:
        cell = lane.cell
        if lane.earlier is not None:
            return f"{cell.id}-confirm"
        return f"{cell.model}-{self.controls}-{cell.target}" if lane.control else cell.id

    def _step(self, *, controls_only: bool = False) -> None:
        lanes = list(self.lanes.values())
        for offset in range(len(lanes)):
            lane = lanes[(self._turn + offset) % len(lanes)]
            if controls_only and not lane.control:
                continue
            if lane.open_batches():
                self._turn = (self._turn + offset + 1) % len(lanes)
                self._time(lane)
                return
        raise RuntimeError("no lane is open, yet a track waits")

    def _time(self, lane: Lane) -> None:
        batches = lane.open_batches()
        times = COLD_TIMES if self.engine.settings.cache_mode == "cold" else 1
        lengths = {one: lane.length(one).times(times) for one in batches}
        if lane.number % 2 and any(not lane.tracks[one].runs[-1] for one in batches):
            # A fresh run begins with a pair of its own, or its orders would not be balanced.
            lane.number += 1

        def process() -> dict[str, Any]:
            return self.engine.speed_process(
                lane.cell,
                lengths,
                lane.number,
                self._label(lane),
                control=lane.control,
                earlier=lane.earlier,
            )

        try:
            result = process()
            reasons = [one.get("invalid") for one in result["batches"].values()]
            if lane.repeated is None and any(reasons):
                # A very busy machine spoils a process now and then; what is wrong with the cell
                # spoils the next one too, which is asked all the same.
                lane.repeated = next(reason for reason in reasons if reason)
                result = process()
        except Stopped as stopped:
            for batch in batches:
                lane.tracks[batch].stopped = stopped
            return
        lane.processes += 1
        lane.number += 1
        lane.seconds += result["seconds"]
        for batch in batches:
            waited = {"waited_s": result["waited_s"]}
            lane.tracks[batch].add({**result["batches"][str(batch)], **waited})
