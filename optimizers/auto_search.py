"""The search itself: tries pipelines, cheap checks first, and compares those that are good enough.

Order of a trial: build, save and open again, a few answers, the score, the claims, the cost.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optimizers import artifact, auto_ways, own_threads, pipeline
from optimizers.auto_bench import benches
from optimizers.auto_goal import (
    BROKEN,
    DROPS,
    KEEPING,
    OVER,
    PASSES,
    REFUSED,
    SKIPPED,
    UNFOUND,
    UNLIKE,
    Goal,
    Record,
    Stages,
    close,
    closest,
    contenders,
    key,
    passing,
)
from optimizers.auto_plan import Outcomes, Passed, cls, plan
from optimizers.auto_pointless import FAR, best_of, pointless
from optimizers.auto_store import Store
from optimizers.auto_validation import Validation, Watched
from optimizers.auto_ways import Arm, Way
from optimizers.auto_worth import Worth
from optimizers.base import Automatic, Context, Optimized, Refused, get
from optimizers.eager import EagerModule
from optimizers.messages import named
from zoo import Model, Unavailable

MOST_COMPARED = 6
"""Artifacts that are open at once in the last comparison."""


HOPELESS = 5
"""Where a training leaves so many times the unlike answers that are allowed, no milder change will
do: of minilm's 37 % are unlike with half of the channels, and 27 % with 70 % of them."""


class Ended(Exception):
    """A trial has its answer; status and reason."""

    def __init__(self, status: str, reason: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Search:
    """Trials of pipelines on one module, which is FP32 and on the CPU."""

    def __init__(self, module: nn.Module, context: Context, goal: Goal) -> None:
        assert context.automatic is not None
        self.context, self.goal = context, goal
        self.asked: Automatic = context.automatic
        self.store = Store(context.kept or context.workdir)
        self.validation = Validation(context, self.asked, module, self.store.folder / "reference")
        placed = self.validation.whole.placed
        self.benches = benches(goal, context, self.asked, placed, self.store.costs)
        self.store.keep_costs({name: one.known for name, one in self.benches.items()})

    @property
    def records(self) -> list[Record]:
        return self.store.records

    @property
    def reference(self) -> dict[str, Any] | None:
        """See Validation.reference; None where every trial kept FP32's weights."""
        apart = any(one["class"] != "A" for one in self.records)
        return self.validation.reference() if apart else None

    def run(self, most: int | None) -> list[Record]:
        """Try the plan, or its first `most`; the records of all, skipped ones included."""
        for stages in itertools.islice(plan(self.asked.allow, self._outcomes()), most):
            if self.store.of(stages) is None:
                self.validation.start(cls(stages))  # Its training is no part of a trial's time.
                self._try(stages)
        return self.records

    def _outcomes(self) -> Outcomes:
        def tried(test: Callable[[Record], bool]) -> Passed:
            def told(stages: Stages) -> bool:
                record = self.store.of(stages)
                return record is not None and test(record)

            return told

        return Outcomes(
            works=tried(lambda one: one["status"] in KEEPING),
            lighter=tried(lambda one: bool(one.get("lighter"))),
            vain=tried(lambda one: bool(one.get("vain"))),
            hopeless=tried(self._hopeless),
        )

    def _hopeless(self, record: Record) -> bool:
        alike, least = record.get("alike"), self.asked.fidelity
        if record["status"] != UNLIKE or not record.get("trains"):
            return False
        if alike is None or least is None:
            return False
        return float(1 - alike) > HOPELESS * (1 - least)

    def choose(self) -> tuple[int | None, dict[int, dict[str, float]]]:
        """The number of the best passing trial, else of the closest, and the last comparison."""
        goal, records = self.goal, self.records
        if not passing(records):
            return closest(records, goal), {}
        if goal.field == "bytes":
            return min(passing(records), key=lambda n: (records[n]["bytes"], n)), {}
        numbers = contenders(records, goal, MOST_COMPARED)
        if len(numbers) == 1:
            return numbers[0], {}
        told = self.benches[goal.field].race({number: self._arm(number) for number in numbers})
        return min(told, key=lambda n: (-told[n]["blocks"], told[n][goal.field])), told

    def _arm_of(self, record: Record) -> Arm:
        return self._arm(self.store.known[key(record["stages"])])

    def _arm(self, number: int) -> Arm:
        """A trial's artifact, opened again and called in the way that was best for it."""
        record = self.records[number]
        target = own_threads.limited(self.context.target, record.get("threads"))
        bench = self.benches[self.goal.field]
        return bench.arm(self.store.load(number, target), record.get("batch", 1))

    # A trial

    def _try(self, stages: Stages) -> None:
        record: Record = {
            "stages": [[name, params] for name, params in stages],
            "pipeline": self.asked.name(stages),
            "class": cls(stages),
            "status": PASSES,
            "reason": None,
        }
        began = time.perf_counter()
        try:
            reason = pointless(stages, self.store.of, self.records, self.goal)
            if reason:
                raise Ended(SKIPPED, reason)
            self.store.begin(record["pipeline"])
            self._judge(stages, record)
        except Ended as ended:
            record |= {"status": ended.status, "reason": ended.reason}
        except (Refused, Unavailable) as reason:
            record |= {"status": REFUSED, "reason": str(reason)}
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - one broken pipeline does not end the search
            record |= {"status": BROKEN, "reason": named(error)}
        record["seconds"] = round(time.perf_counter() - began, 3)
        # Kept as strict JSON; a number that is none has its reason beside it.
        record = {name: None if _odd(one) else one for name, one in record.items()}
        known = record["status"] == PASSES
        values = (record["drop"], self.goal.cost(record)[0]) if known else None
        self.store.end(record, values)
        self._forget(record)

    def _judge(self, stages: Stages, record: Record) -> None:
        optimized, folder, began = self._built(stages, record)
        problem, alike = self.validation.look(optimized, record["class"])
        if problem:
            record["alike"] = alike
            raise Ended(UNLIKE, problem)
        augmented = record["augmented"]
        record |= self.validation.judge(optimized, record["class"], augmented=augmented)
        least, alike = self.asked.fidelity, record["alike"]
        held = least is not None and record["class"] != "C" and alike is not None
        if held and not alike >= least:
            raise Ended(UNLIKE, f"{alike:.2%} like FP32, of {least:.0%} wanted")
        earlier = self.store.of(stages[:-1]) or {}
        if "first" in earlier and _numeric(stages):
            record |= self.validation.moved(record, earlier)
        if self._open(stages, record):
            record |= self._judged_again(stages, optimized, record)
        if "drop" in self.goal.misses(record):
            if self.benches and close(record, self.goal) and _numeric(stages):
                self._measure(stages, optimized, folder, record)
            raise Ended(DROPS, _lost(record, self.goal.max_drop))
        names = pipeline.claims(stages, self.context.target)
        start = self.validation.start(record["class"])
        missing = self.asked.audit(optimized, folder, names, start.placed, began)
        if missing:
            raise Ended(UNFOUND, ", ".join(missing))
        if self.benches:
            self._measure(stages, optimized, folder, record)
        misses = self.goal.misses(record)
        if misses:
            raise Ended(OVER, _over(record, misses, self.goal))

    def _open(self, stages: Stages, record: Record) -> bool:
        """Whether more samples are worth their time: for a change that may be good enough, is not
        surely so, and would be far better than anything that is."""
        if _numeric(stages) or self.validation.apart is self.validation.whole:
            return False
        likely = {**record, **record.get("likely", {})}
        alone = self.goal.misses(likely).keys() == {"drop"}
        if record["drop_error"] is None or not alone or not close(record, self.goal):
            return False
        kept = [one for one in self.records if one["status"] in KEEPING and "likely" in one]
        known = [self.goal.cost(one["likely"])[1] for one in kept]
        best, _ = best_of(self.records, self.goal)
        return FAR * self.goal.cost(likely)[1] < min([best, *known])

    def _judged_again(self, stages: Stages, optimized: Optimized, record: Record) -> Record:
        """What it loses by the answers of its like, made on either half of the training split."""
        workdir = self.context.workdir / "half"

        def make(model: Model, module: nn.Module) -> Optimized:
            context = dataclasses.replace(self.context, model=model, workdir=workdir, kept=None)
            torch.manual_seed(self.context.seed)
            return pipeline.apply(stages, module, context)[0]

        first = {name: record[name] for name in ("drop", "drop_error")}
        found = self.validation.judge_again(optimized, make, augmented=record["augmented"])
        shutil.rmtree(workdir, ignore_errors=True)
        return {**found, "first": first}

    def _measure(self, stages: Stages, optimized: Optimized, folder: Path, record: Record) -> None:
        """What the artifact costs, run in the way in which it serves the goal best."""
        opened = auto_ways.opened(stages, optimized, folder, self.context.target)
        for bench in self.benches.values():
            sizes = auto_ways.accepted(bench.batches, optimized, stages)
            ways = {Way(count, size): one for count, one in opened.items() for size in sizes}
            way, told = bench.measure(ways)
            record |= told
            # The field that the goal makes small comes first, and decides the threads.
            opened = {way.threads: opened[way.threads]}
            if len(bench.batches) > 1:
                record["batch"] = way.batch
            if bench.name == "latency_ms":
                record["speed"] = bench.reference / told[bench.name]
        if way.threads is not None:
            made = auto_ways.with_threads(stages, way.threads)
            record |= {"threads": way.threads, "made": [list(stage) for stage in made]}
            record["pipeline"] = self.asked.name(made)

    def _built(self, stages: Stages, record: Record) -> tuple[Optimized, Path, nn.Module | None]:
        """The artifact, saved and opened again, as what ships is; its folder, and what its last
        stage went on from, if it did."""
        target = self.context.target
        watched = Watched(self.context.model, self.validation.rest)
        workdir = self.context.workdir / f"trial-{len(self.records)}"
        module = self.validation.start(record["class"]).module
        before: Stages = ()
        made: list[dict[str, Any]] = []
        if len(stages) > 1 and self.asked.goes_on(target):
            before = stages[:-1]
            started = self.store.load(self.store.known[key(before)], target)
            assert isinstance(started, EagerModule), "the last stage alone ends in a runtime"
            module, made = started.module.to("cpu"), [{"seconds": 0.0, **o} for o in started.stages]
        context = dataclasses.replace(
            self.context,
            model=watched.model,
            workdir=workdir,
            kept=None,
            exported=self.context.workdir / "exported",
        )
        worth = Worth(
            module,
            before,
            stages[-1][0],
            context,
            self.goal,
            self.records,
            self.benches,
            self._arm_of,
        )
        # Products of quantised layers cannot be counted.
        changes = not _numeric(stages)
        if changes:
            context = dataclasses.replace(
                context, worth=functools.partial(self._ask, worth, record)
            )
        torch.manual_seed(self.context.seed)
        todo = stages[len(before) :]
        optimized, _ = pipeline.apply(todo, copy.deepcopy(module), context, made)
        earlier = self.store.of(before)
        record["trains"] = watched.asked or bool(earlier and earlier["trains"])
        # The last training decides.
        again = not watched.asked and bool(earlier and earlier["augmented"])
        record["augmented"] = watched.changed or again
        if changes and optimized.module is not None and not optimized.ends:
            record["lighter"] = worth.lighter(optimized.module)
        folder = self.store.save(optimized)
        shutil.rmtree(workdir, ignore_errors=True)
        record["bytes"] = sum(artifact.sizes(folder).values())
        return artifact.load(folder, target), folder, module if before else None

    def _ask(self, worth: Worth, record: Record, module: nn.Module) -> None:
        """Ends a trial before a training that is not worth it."""
        reason = worth.in_vain(module)
        if worth.likely is not None:
            record["likely"] = worth.likely
        if reason:
            record["vain"] = True
            raise Ended(SKIPPED, reason)

    def _forget(self, record: Record) -> None:
        """Only what may win, or be gone on from, keeps its artifact."""
        if record["status"] not in KEEPING:
            self.store.drop(len(self.records) - 1)


def _numeric(stages: Stages) -> bool:
    """Whether the last stage is a runtime, or other numbers in the same structure."""
    return get(stages[-1][0]).changes == "numerics"


def _lost(record: Record, most: float) -> str:
    """What a trial drops, and what keeps that from being good enough."""
    drop, error = record["drop"], record["drop_error"]
    apart = "" if error is None else f" ± {100 * error:.2f}"
    told = f"drops {100 * drop:.2f}{apart} points on validation"
    if error is None or drop + error > most:
        return told
    return f"{told}, which the accuracy gate's own samples may well leave undecided"


def _over(record: Record, misses: dict[str, float], goal: Goal) -> str:
    budgets = [f"{name} by {share:.1%}" for name, share in misses.items() if name != "speed"]
    told = [f"over the budget of {', '.join(budgets)}"] if budgets else []
    if "speed" in misses:
        error = record["latency_ms_error"]
        told.append(f"{record['speed']:.2f}x ± {error:.1%} as fast as FP32, {goal.speed:g}x wanted")
    return "; ".join(told)


def _odd(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
