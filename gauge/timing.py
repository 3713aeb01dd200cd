"""Baseline and candidate timed in turns in one process: one process gives one log-ratio.

The same code's median differs up to three times between processes, while the ratio of two arms
taken in turns inside one process repeats: so the process is the replicate, and the verdict rests
on several of them. Weights of both arms lie at addresses that stay as they are for a process's
life and favour one of the two by up to a percent or two: the caller swaps the order in which the
arms are loaded from process to process, or the bias would not average out.
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

from gauge import monitors
from gauge.outputs import Batch
from gauge.targets import Target

SEGMENT_S = 0.010
"""Shortest time taken at once: long against the clock's and a switch's own cost.

Note: between-process SD of A/A log-ratios on a shared 2-core machine, one thread, 0.6 to 1.2 s a
process. Otherwise idle: 0.4 to 1.3 % at one hour (MLP, LSTM, ViT; ResNet-18 0.9 to 2.1 %), 1.1 to
3.3 % at another. Bootstrapping a process's blocks predicts as much, so more blocks help and the
process itself adds little. Both cores busy: 1.9 to 6 %, and 0.7 to 1.5 % with segments of 2.5 ms;
8 % and more with either at a load of 5. No mean, quartile or minimum repeated better throughout
than the median of blocks.
"""

BLOCKS = 6
"""Fewest blocks (of two segments an arm) that give a median."""

MOST_BLOCKS = 50
"""Where a process stops: 100 samples an arm."""

# No model answers 65,536 times in 10 ms: only a stopwatch that stands still gets here, and the
# growth check tells of it.
_MOST_CALLS = 2**16
_GROWTH = 1.2
# A stopwatch that does not wait tells of microseconds; a call this long has been waited for.
_LONG_S = 0.1
_TREND = 0.02

Call = Callable[..., Any]


@dataclass(frozen=True)
class Arm:
    """One side: seconds of its very first call, calls in a segment, seconds a call by segment."""

    first_call_s: float
    calls: int
    samples: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples)


@dataclass(frozen=True)
class PairTiming:
    """What one process saw.

    log_ratio: median over blocks of ln(baseline time / candidate time); above 0 the candidate is
        faster. steady: the warm-up ended by itself and no trend was left in the blocks. trend:
        drift of the log-ratio from the first block to the last. invalid: a sentence when the
        numbers mean nothing (the clock jumped, twice the work took no longer, code was compiled
        meanwhile), or None. monitors: see gauge.monitors.watch.
    """

    log_ratio: float
    blocks: list[float]
    baseline: Arm
    candidate: Arm
    steady: bool
    trend: float
    invalid: str | None
    warmup: dict[str, Any]
    monitors: dict[str, Any]
    settings: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a job's result; samples also under the names records use."""
        plain = asdict(self)
        plain["baseline_samples"] = list(self.baseline.samples)
        plain["candidate_samples"] = list(self.candidate.samples)
        return plain


class _Runner:
    """Runs segments on the target's stopwatch, and keeps what each took."""

    def __init__(self, target: Target, arms: dict[str, tuple[Call, Batch]]) -> None:
        self.arms = arms
        self.target = target
        self.start = target.stopwatch()
        self.calls = dict.fromkeys(arms, 1)
        self.last: str | None = None
        self.answers: dict[str, Any] = {}

    def segment(self, arm: str, calls: int | None = None) -> float:
        """Seconds of so many calls in a row; the stopwatch synchronises once, at the end."""
        call, (args, kwargs) = self.arms[arm]
        if arm != self.last:
            # The first call finds the other arm's data in the caches: it is not timed.
            call(*args, **kwargs)
            self.last = arm
        rounds = itertools.repeat(None, calls or self.calls[arm])
        answer = None
        stop = self.start()
        for _ in rounds:
            answer = call(*args, **kwargs)
        taken = stop()
        self.answers[arm] = answer
        return taken

    def block(self, order: str) -> dict[str, list[float]]:
        """Seconds a call of each segment, by arm; order: ABBA or BAAB."""
        taken: dict[str, list[float]] = {arm: [] for arm in self.arms}
        for arm in order:
            taken[arm].append(self.segment(arm) / self.calls[arm])
        gc.collect()
        return taken


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
    verify: called with the candidate's last timed answer; returns such a reason, or None.
    """
    runner = _Runner(target, {"A": (baseline, inputs_baseline), "B": (candidate, inputs_candidate)})
    orders = ("BAAB", "ABBA") if candidate_first else ("ABBA", "BAAB")
    with torch.inference_mode(), _collector_off():
        first = {arm: _first_call(runner, arm) for arm in orders[0][:2]}
        warmup = _warm_up(runner, orders, seconds, segment, min(2, least_blocks))
        invalid = _growth_problem(runner)
        gc.collect()
        gc.freeze()
        watched = watch() if watch else None
        seen = monitors.watch()
        taken, ratios = _blocks(runner, orders, seconds, least_blocks)
        observed, clock = seen()
        meanwhile = watched() if watched else None
    wrong = verify(runner.answers["B"]) if verify else None
    invalid = clock or wrong or invalid or meanwhile or _stopwatch_problem(runner, taken, observed)
    trend, left = _trend(ratios)
    return PairTiming(
        log_ratio=statistics.median(ratios) if ratios else 0.0,
        blocks=ratios,
        baseline=Arm(first["A"], runner.calls["A"], taken["A"]),
        candidate=Arm(first["B"], runner.calls["B"], taken["B"]),
        steady=warmup["settled"] and not left,
        trend=trend,
        invalid=invalid,
        warmup=warmup,
        monitors=observed,
        settings={
            "segment_s": segment,
            "seconds": seconds,
            "candidate_first": candidate_first,
            "threads": torch.get_num_threads(),
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


def _first_call(runner: _Runner, arm: str) -> float:
    """Seconds of an arm's first call: what is compiled or packed lazily shows here only."""
    call, (args, kwargs) = runner.arms[arm]
    runner.target.synchronize()
    began = time.perf_counter()
    call(*args, **kwargs)
    runner.target.synchronize()
    runner.last = arm
    return time.perf_counter() - began


def _warm_up(
    runner: _Runner, orders: Sequence[str], seconds: float, segment: float, least: int
) -> dict[str, Any]:
    """Run until no arm's time has a trend, then choose the calls of a segment once and for all."""
    began = time.perf_counter()
    for arm in runner.arms:
        _grow_calls(runner, arm, segment)
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
        settled = not any(_trend(_logs(values))[1] for values in late.values())
        if settled or time.perf_counter() - began >= seconds:
            break
    for arm, values in times.items():
        needed = math.ceil(1.1 * segment / max(min(values[-6:]), 1e-12))
        runner.calls[arm] = min(max(1, needed), _MOST_CALLS)
    return {"blocks": blocks, "settled": settled, "seconds": time.perf_counter() - began}


def _grow_calls(runner: _Runner, arm: str, segment: float) -> None:
    while runner.segment(arm) < segment and runner.calls[arm] < _MOST_CALLS:
        runner.calls[arm] *= 2


def _growth_problem(runner: _Runner) -> str | None:
    """Twice the calls must take longer; they do not where the stopwatch does not wait for them.

    The best of up to three pairs counts: a pause in the single segment looks the same.
    """
    for arm, name in (("A", "baseline"), ("B", "candidate")):
        calls = runner.calls[arm]
        growth = 0.0
        if runner.segment(arm, 1) >= _LONG_S:
            continue
        for _ in range(3):
            once = runner.segment(arm, calls)
            growth = max(growth, runner.segment(arm, 2 * calls) / once if once > 0 else 0.0)
            if growth >= _GROWTH:
                break
        else:
            return (
                f"{2 * calls} calls of the {name} take {growth:.2f} times as long as {calls}: "
                "the stopwatch does not wait for the work"
            )
    return None


def _blocks(
    runner: _Runner, orders: Sequence[str], seconds: float, least: int
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
    runner: _Runner, samples: dict[str, list[float]], observed: dict[str, Any]
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


def _trend(values: Sequence[float]) -> tuple[float, bool]:
    """(drift from first to last, whether it counts) of a series of logarithms.

    The drift is the Theil-Sen slope times the length: the median over all pairs. It counts when
    it exceeds 2 % and what neighbours differ by, so that noise is not taken for a trend.
    """
    if len(values) < 4:
        return 0.0, False
    pairs = itertools.combinations(enumerate(values), 2)
    slope = statistics.median((b - a) / (j - i) for (i, a), (j, b) in pairs)
    drift = slope * (len(values) - 1)
    noise = statistics.median(abs(b - a) for a, b in itertools.pairwise(values))
    return drift, abs(drift) > max(_TREND, 2 * noise)
