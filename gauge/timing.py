"""Baseline and candidate timed in turns in one process: one process gives one log-ratio.

The same code's median differs up to three times between processes, while the ratio of two arms
taken in turns inside one process repeats: so the process is the replicate, and the verdict rests
on several of them. Weights of both arms lie at addresses that stay as they are for a process's
life and favour one of the two by up to a percent or two: the caller draws the order in which the
arms are loaded for each process (gauge.order), or the bias would not average out.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from gauge import affinity, cold, energy, monitors, percentiles, steady
from gauge.length import SEGMENT_S
from gauge.outputs import Batch
from gauge.segments import MOST_CALLS, Call, Runner
from gauge.targets import Target

BLOCKS = 6
"""Fewest blocks (of two segments an arm) that give a median."""

NOT_AGAIN = "measured in a cell's first processes"

MOST_BLOCKS = 50
"""Where a process stops: 100 samples an arm."""


@dataclass(frozen=True)
class Arm:
    """One side: seconds of its very first call, calls in a segment, seconds a call by segment.

    singles: seconds of calls timed one by one. outliers: samples beyond Tukey's outer fences,
    counted and kept. joules: a call's, None where no counter tells.
    """

    first_call_s: float
    calls: int
    samples: list[float] = field(default_factory=list)
    singles: list[float] = field(default_factory=list)
    outliers: int = 0
    joules: float | None = None

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples)


@dataclass(frozen=True)
class PairTiming:
    """What one process saw.

    log_ratio: median over blocks of ln(baseline time / candidate time); above 0 the candidate is
        faster. trend: drift of the log-ratio from the first block to the last; whether that
        counts is asked of all processes together (gauge.steady). invalid: a sentence when the
        numbers mean nothing (the clock jumped, twice the work took no longer, code was compiled
        meanwhile, an arm moved to other CPUs), or None. monitors: see gauge.monitors.watch, and
        `device` as the target's own watch tells. energy: where joules come from, or why none do.
    """

    log_ratio: float
    blocks: list[float]
    baseline: Arm
    candidate: Arm
    trend: float
    invalid: str | None
    warmup: dict[str, Any]
    monitors: dict[str, Any]
    energy: dict[str, str | None]
    settings: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a job's result; samples also under the names records use."""
        plain = asdict(self)
        plain["baseline_samples"] = list(self.baseline.samples)
        plain["candidate_samples"] = list(self.candidate.samples)
        return plain


def measure_pair(
    baseline: Call,
    candidate: Call,
    target: Target,
    inputs_baseline: Batch,
    inputs_candidate: Batch,
    *,
    seconds: float = 1.0,
    segment: float = SEGMENT_S,
    candidate_first: bool = False,
    least_blocks: int = BLOCKS,
    watch: Callable[[], Callable[[], str | None]] | None = None,
    cache_mode: str = "warm",
    single_seconds: float = 0.0,
    with_energy: bool = True,
    verify: Callable[[Any], str | None] | None = None,
) -> PairTiming:
    """Time two arms in turns (ABBA, BAAB) and give the median log-ratio of the blocks.

    inputs_*: arguments already on the device and in the format; every call of an arm gets the
    same ones, so an arm that changes them must have been refused before.
    seconds: how long to measure after the warm-up, which takes at most as long again; a slow
    model takes longer, as `least_blocks` blocks are always taken.
    candidate_first: the candidate makes the first call and opens the first block.
    watch: called after the warm-up, returns a function that is called at the end and gives the
    reason why the numbers mean nothing, or None (say, that something was compiled meanwhile).
    cache_mode: "warm", or "cold" where caches are emptied before every call (see gauge.cold).
    single_seconds: how long to time single calls of both arms afterwards, in turns.
    with_energy: measure a call's energy after that, where the target has a counter.
    verify: called with the candidate's last timed answer; returns such a reason, or None.
    """
    if cache_mode not in cold.MODES:
        raise ValueError(f"cache_mode {cache_mode!r} is none of {', '.join(cold.MODES)}")
    evictor = target.evictor() if cache_mode == "cold" else None
    arms = {"A": (baseline, inputs_baseline), "B": (candidate, inputs_candidate)}
    runner = Runner(target, arms, evictor.call if evictor else None)
    meter = target.energy_meter()
    cpus = affinity.allowed()
    orders = ("BAAB", "ABBA") if candidate_first else ("ABBA", "BAAB")
    with torch.inference_mode(), _collector_off():
        first = {arm: _first_call(runner, arm) for arm in orders[0][:2]}
        warmup = _warm_up(runner, orders, seconds, segment, min(2, least_blocks))
        invalid = runner.growth_problem()
        gc.collect()
        gc.freeze()
        watched = watch() if watch else None
        device = target.watch()
        seen = monitors.watch()
        taken, ratios = _blocks(runner, orders, seconds, least_blocks)
        observed, clock = seen()
        observed["device"] = device()
        meanwhile = watched() if watched else None
        singles = runner.single_calls(single_seconds)
        used = runner.energy(meter if with_energy else energy.none(NOT_AGAIN))
    wrong = verify(runner.answers["B"]) if verify else None
    moved = affinity.problem(cpus, affinity.allowed())
    invalid = clock or wrong or invalid or meanwhile or moved
    invalid = invalid or _stopwatch_problem(runner, taken, observed)

    def arm(name: str) -> Arm:
        calls = runner.calls[name]
        return Arm(
            first_call_s=first[name],
            calls=calls,
            samples=taken[name],
            singles=singles[name],
            outliers=percentiles.far_out(taken[name]),
            joules=used.joules[name] if used.joules else None,
        )

    return PairTiming(
        log_ratio=statistics.median(ratios) if ratios else 0.0,
        blocks=ratios,
        baseline=arm("A"),
        candidate=arm("B"),
        trend=steady.drift(ratios),
        invalid=invalid,
        warmup=warmup,
        monitors=observed,
        energy={"source": used.source, "reason": used.reason},
        settings={
            "segment_s": segment,
            "seconds": seconds,
            "candidate_first": candidate_first,
            "threads": torch.get_num_threads(),
            "cpus": affinity.text(cpus),
            "cache": {"mode": cache_mode, **(evictor.facts if evictor else {})},
        },
    )


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """No garbage collection unless asked for.

    What exists already is set aside: a walk over all of torch's objects takes 0.2 s, and garbage
    is collected after every block.
    """
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def _first_call(runner: Runner, arm: str) -> float:
    """Seconds of an arm's first call: what is compiled or packed lazily shows here only."""
    call, (args, kwargs) = runner.arms[arm]
    runner.target.synchronize()
    began = time.perf_counter()
    call(*args, **kwargs)
    runner.target.synchronize()
    runner.last = arm
    return time.perf_counter() - began


def _warm_up(
    runner: Runner, orders: Sequence[str], seconds: float, segment: float, least: int
) -> dict[str, Any]:
    """Run until no arm's time has a trend, then choose the calls of a segment once and for all."""
    began = time.perf_counter()
    for arm in runner.arms:
        runner.grow_calls(arm, segment)
    times: dict[str, list[float]] = {arm: [] for arm in runner.arms}
    settled, blocks = False, 0
    for order in itertools.cycle(orders):
        taken = runner.block(order)
        blocks += 1
        for arm, values in taken.items():
            times[arm] += values
        if blocks < least:
            continue
        # The later half: the longer it has run, the slower a trend is seen.
        late = {arm: values[-max(6, len(values) // 2) :] for arm, values in times.items()}
        settled = not any(steady.warming(_logs(values)) for values in late.values())
        if settled or time.perf_counter() - began >= seconds:
            break
    for arm, values in times.items() if runner.evict is None else ():
        needed = math.ceil(1.1 * segment / max(min(values[-6:]), 1e-12))
        runner.calls[arm] = min(max(1, needed), MOST_CALLS)
    return {"blocks": blocks, "settled": settled, "seconds": time.perf_counter() - began}


def _blocks(
    runner: Runner, orders: Sequence[str], seconds: float, least: int
) -> tuple[dict[str, list[float]], list[float]]:
    """All segments by arm and each block's log-ratio; drift within a block cancels out."""
    samples: dict[str, list[float]] = {arm: [] for arm in runner.arms}
    ratios: list[float] = []
    began = time.perf_counter()
    for index, order in zip(range(MOST_BLOCKS), itertools.cycle(orders), strict=False):
        if index >= least and time.perf_counter() - began >= seconds:
            break
        taken = runner.block(order)
        for arm, values in taken.items():
            samples[arm] += values
        sums = {arm: sum(values) for arm, values in taken.items()}
        if min(sums.values()) > 0:  # otherwise _stopwatch_problem tells
            ratios.append(math.log(sums["A"] / sums["B"]))
    return samples, ratios


def _stopwatch_problem(
    runner: Runner, samples: dict[str, list[float]], observed: dict[str, Any]
) -> str | None:
    """The target's own clock must run, and cannot have run longer than the wall clock."""
    if min(min(values) for values in samples.values()) <= 0:
        return "a segment took no time by the target's stopwatch"
    timed = sum(sum(values) * runner.calls[arm] for arm, values in samples.items())
    if timed > 1.01 * observed["wall_s"] + 1e-3:
        return f"the stopwatch tells {timed:.3f} s within {observed['wall_s']:.3f} s of wall time"
    return None


def _logs(values: Sequence[float]) -> list[float]:
    return [math.log(max(value, 1e-12)) for value in values]
