"""Ways to look fast without being it, which a stopwatch alone does not see.

gauge.timing calls each arm with the same inputs again and again and reads no answer. So a candidate
that remembers answers, or puts the work off until somebody reads one, looks fast and is not; and so
does one that slows the baseline down, or changes torch's settings for the whole process.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gauge.outputs import Batch, flatten
from gauge.targets import Target

SHARE = 0.5
"""What a call may take longer than a timed one, beyond what the baseline's does, as its share."""

SLOWED = 1.5
"""How much slower than alone the baseline may be beside the candidate."""

_ROUND_S = 0.003
_ROUNDS = 3
_LONG_S = 0.1
_TURNS, _FEW = 5, 3
_LOOKS = 3
_ALONE_S = 0.15
_WINDOW_S = 0.010


def _clocks() -> tuple[Callable[..., float], ...]:
    return time.perf_counter, time.clock_gettime, time.thread_time


# Taken when this module is imported, which is before anything of a technique's is.
_CLOCKS = _clocks()


@dataclass(frozen=True)
class Side:
    """One arm: what is called, the inputs it is timed with, others, and its timed seconds a call.

    others: further inputs of the same shapes, each to be used once; may be empty.
    """

    call: Callable[..., Any]
    usual: Batch
    others: Sequence[Batch]
    seconds: float


def unread(baseline: Side, candidate: Side, target: Target) -> str | None:
    """Why the candidate's times are not those of a user's calls, or None.

    A user's call has inputs of its own and its answer is read: the candidate is given new inputs,
    each once, and every answer is read. Only where that takes longer than the timed call it is
    looked into: new inputs without reading tell remembered answers from work that is put off. What
    either adds is told against what it adds to the baseline.

    A suspicion may be a busy machine's, which was idle while the arms were timed. So what is looked
    into is measured in turns with the timed call, and has to be seen three times.
    """
    if not candidate.others:
        return None
    half = len(candidate.others) // 2 or 1
    if not _suspicious(_added(candidate, target, half), 0.0, candidate.seconds):
        return None
    times: float | None = None
    part = -(-half // _LOOKS)
    for start in range(half, len(candidate.others), part):
        times = _with_new(baseline, candidate, target, slice(start, start + part))
        if times is None:
            break
    if times is not None:
        return (
            f"a call with inputs not seen before takes {times:.1f} times as long as the repeated "
            "one that is timed: answers are remembered"
        )
    reading = _reading(baseline, target)
    for _ in range(_LOOKS):
        given = [candidate.usual] * half
        seconds, added = _in_turns(candidate, target, given, read=True)
        if not _suspicious(added, reading, seconds):
            return None
    return (
        f"a call whose answer is read takes {1 + added / seconds:.1f} times as long as the one "
        "that is timed: the work is put off until then"
    )


def _with_new(baseline: Side, candidate: Side, target: Target, rows: slice) -> float | None:
    """How many times as long calls with new inputs take, where the baseline's do not."""
    seconds, added = _in_turns(candidate, target, candidate.others[rows], read=False)
    if not _suspicious(added, 0.0, seconds):
        return None
    given = baseline.others[rows] or [baseline.usual]
    _, before = _in_turns(baseline, target, given, read=False)
    return 1 + added / seconds if _suspicious(added, before, seconds) else None


def _reading(side: Side, target: Target) -> float:
    """Seconds that it takes to read an answer which is there."""
    with torch.inference_mode():
        answer = side.call(*side.usual[0], **side.usual[1])
        taken = []
        for _ in range(_TURNS):
            target.synchronize()
            began = time.perf_counter()
            _read(answer)
            target.synchronize()
            taken.append(time.perf_counter() - began)
    return min(taken)


def _read(answer: Any) -> None:
    for tensor in flatten(answer).values():
        float(tensor.sum())


def _in_turns(
    side: Side, target: Target, given: Sequence[Batch], *, read: bool
) -> tuple[float, float]:
    """Seconds of the timed call now, and by how much others exceed it; the least of some rounds.

    Either has as many chances to meet an idle machine. The others come first in the first round,
    since what slows down with time must not count against them; a timed call is made once before
    its turn, as it is while it is timed.
    """
    rounds = min(_FEW if side.seconds >= _LONG_S else _TURNS, len(given))
    size = max(1, min(len(given) // rounds, round(_ROUND_S / max(side.seconds, 1e-9))))
    taken: dict[bool, list[float]] = {True: [], False: []}
    with torch.inference_mode():
        for number in range(rounds):
            others = given[number * size : (number + 1) * size]
            for other in (True, False) if number % 2 == 0 else (False, True):
                if not other:
                    side.call(*side.usual[0], **side.usual[1])
                inputs = others if other else [side.usual] * len(others)
                taken[other].append(_round(side, target, inputs, read=read and other))
    seconds = min(taken[False])
    return seconds, min(taken[True]) - seconds


def _suspicious(added: float, before: float, seconds: float) -> bool:
    return added > 2 * max(before, 0.0) + SHARE * seconds


def _added(side: Side, target: Target, count: int) -> float:
    """Seconds by which a call with other inputs, its answer read, exceeds the timed one.

    The least of a few rounds: an interruption of the machine lengthens one, and hardly all of them.
    """
    others = list(side.others[:count])
    rounds = 1 if side.seconds >= _LONG_S else min(_ROUNDS, len(others))
    size = max(1, min(len(others) // rounds, round(_ROUND_S / max(side.seconds, 1e-9))))
    with torch.inference_mode():
        side.call(*side.usual[0], **side.usual[1])
        taken = [
            _round(side, target, others[number * size : (number + 1) * size], read=True)
            for number in range(rounds)
        ]
    return min(taken) - side.seconds


def _round(side: Side, target: Target, given: Sequence[Batch], *, read: bool) -> float:
    """Seconds a call with each of these inputs once."""
    target.synchronize()
    began = time.perf_counter()
    for args, kwargs in given:
        answer = side.call(*args, **kwargs)
        if read:
            _read(answer)
    target.synchronize()
    return (time.perf_counter() - began) / len(given)


@dataclass(frozen=True)
class Pace:
    """A call at its best: seconds of wall and of this thread's CPU, and how often it waits."""

    wall: float
    cpu: float
    waits: float


def pace(call: Callable[..., Any], batch: Batch, target: Target) -> Pace:
    """How long the baseline's call takes, over windows of 10 ms, the least of each measure."""
    args, kwargs = batch
    found: list[tuple[float, float, float]] = []
    with torch.inference_mode():
        ends = time.perf_counter() + _ALONE_S
        while len(found) < _ROUNDS or time.perf_counter() < ends:
            target.synchronize()
            began, worked, waited = time.perf_counter(), time.thread_time(), _waits()
            calls = 0
            while calls == 0 or time.perf_counter() - began < _WINDOW_S:
                call(*args, **kwargs)
                calls += 1
            target.synchronize()
            taken = (time.perf_counter() - began, time.thread_time() - worked, _waits() - waited)
            found.append(tuple(one / calls for one in taken))  # type: ignore[arg-type]
    return Pace(*(min(values) for values in zip(*found, strict=True)))


def _waits() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def slowed(alone: Pace, again: Callable[[], Pace], target: Target) -> str | None:
    """Why the baseline's times beside the candidate are not its own, or None.

    alone: its pace before there was a candidate; again: measures it beside the candidate, up to
    three times while it looks slower. On a CPU the thread's own CPU time tells, and waits that were
    not there before: a busy machine lengthens wall time, and neither of these.
    """
    told = None
    for _ in range(_ROUNDS):
        told = _slower(alone, again(), target)
        if told is None:
            return None
    return told


def _slower(alone: Pace, beside: Pace, target: Target) -> str | None:
    before, after = (alone.cpu, beside.cpu) if target.device == "cpu" else (alone.wall, beside.wall)
    if beside.waits - alone.waits > SHARE:
        return (
            f"the baseline waits {beside.waits:.0f} times in a call beside the candidate, and "
            f"{alone.waits:.0f} times alone: the candidate slows it down"
        )
    if not after > SLOWED * before:
        return None
    return (
        f"the baseline takes {after / max(before, 1e-9):.1f} times as long beside the candidate as "
        "it took alone: the candidate slows it down"
    )


def settings() -> dict[str, Any]:
    """What changes how fast, or what, every module of the process computes, and the clock."""
    return {
        "clock": "its own" if _clocks() == _CLOCKS else "replaced",
        "threads": torch.get_num_threads(),
        "default dtype": str(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "oneDNN": torch.backends.mkldnn.enabled,
        "matmul precision": torch.get_float32_matmul_precision(),
        "global module hooks": _global_hooks(),
    }


def _global_hooks() -> int:
    shared = torch.nn.modules.module
    return len(shared._global_forward_hooks) + len(shared._global_forward_pre_hooks)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Which settings differ from `before`, as a sentence, or None."""
    differing = [
        f"{name} from {value} to {after[name]}"
        for name, value in before.items()
        if value != after[name]
    ]
    if not differing:
        return None
    return f"the candidate changed what the baseline is measured with: {', '.join(differing)}"
