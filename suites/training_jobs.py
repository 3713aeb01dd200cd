"""The work of suites/test_training.py in a worker: trainings, and single steps of them timed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import optimizers
from gauge import affinity, memory, recompiles, timing
from optimizers.amp import MixedPrecision
from suites import stopwatch
from suites import world as shared
from suites.world import World
from zoo import precision
from zoo.precision import Precision, Trace

MOST_POINTS = 100
"""Points of a training curve: each is the mean of the steps it stands for."""

MEMORY_STEPS = 2
"""The first step makes the optimiser's state, the second has it from the start."""

LOW_SCALE, TRIES = 256.0, 9
"""A scale of the loss that few gradients overflow, for steps that are timed or weighed: what one
takes does not depend on it, but one that is skipped makes no update. Halved 9 times it is below 1,
where no scale helps."""

LEAST_HELD = 0.9
"""Share of the timed steps that must have made their update."""


def training_consider(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the technique would train like here; Refused with its reason where it would not."""
    world = World(arguments)
    technique = _technique(world)
    reason = technique.refuses(world.model, world.target)
    if reason:
        raise optimizers.Refused(reason)
    chosen = technique.precision(arguments["params"], world.target)
    return {
        "dtype": str(chosen.dtype).removeprefix("torch."),
        "scaled": chosen.dtype == torch.float16,
        "most_steps": chosen.most_steps,
    }


def training_run(arguments: dict[str, Any]) -> dict[str, Any]:
    """Train one side with one seed and score it: what its steps met, and the scores, kept."""
    world = World(arguments)
    module, trace, settling = _train(world, _precision(world, arguments["candidate"]))
    split = world.model.split("evaluation")
    joined = shared.evaluate(module, split, world.target)
    reference = None if split.labels is not None else joined
    scores = shared.score(world.model, joined, split, reference)
    shared.write_npz(Path(arguments["directory"]) / "scores.npz", {"scores": scores})
    finite = [value for value in trace.losses if math.isfinite(value)]
    weights = [one for one in module.state_dict().values() if one.is_floating_point()]
    return {
        "score": float(np.mean(scores)),
        "samples": len(split),
        "attempted": len(trace.losses),
        "taken": trace.taken,
        "settling": settling,
        "nonfinite_losses": len(trace.losses) - len(finite),
        "nonfinite_weights": sum(int((~torch.isfinite(one)).sum()) for one in weights),
        "scale": trace.scale,
        "layers": trace.layers,
        "low": trace.low,
        "curve": _curve(trace.losses),
    }


def training_memory(arguments: dict[str, Any]) -> dict[str, Any]:
    """Peak memory of building one side and taking its first steps, in this process alone."""
    world = World(arguments)
    world.model.split("train")  # the same for both sides
    with memory.PeakMemory(world.target) as measured:
        _, trace, _ = _train(world, _precision(world, arguments["candidate"], MEMORY_STEPS))
        if trace.taken < MEMORY_STEPS:
            _Repeated(trace).hold(MEMORY_STEPS)
    return measured.as_dict()


def training_speed(arguments: dict[str, Any]) -> dict[str, Any]:
    """A step of FP32 training and one of the technique's, in turns in this process.

    With "control" both are FP32's.
    """
    cpus = affinity.allowed()
    world = World(arguments)
    arms: dict[bool, _Repeated] = {}
    batch: Any = None
    for candidate in (True, False) if arguments["candidate_first"] else (False, True):
        mixed = candidate and not arguments["control"]
        _, trace, _ = _train(world, _precision(world, mixed, 1))
        arms[candidate], batch = _Repeated(trace), trace.batch
        arms[candidate].hold(1)
    affinity.pin(cpus)
    name = str(arguments["batch"])
    measured = timing.measure_pair(
        arms[False],
        arms[True],
        world.target,
        (tuple(one.to(world.target.device) for one in batch), {}),
        (tuple(one.to(world.target.device) for one in batch), {}),
        **arguments["length"],
        candidate_first=arguments["candidate_first"],
        watch=recompiles.watch,
        with_energy=arguments["number"] < stopwatch.ENERGY_PROCESSES,
    )
    told = {**measured.as_dict(), "samples_a_step": len(batch[1])}
    told["invalid"] = told["invalid"] or arms[True].skipped()
    return {"batches": {name: told}}


def _technique(world: World) -> MixedPrecision:
    """The technique that the arguments name; ValueError where it is no way to train."""
    found = optimizers.get(world.arguments["technique"])
    if not isinstance(found, MixedPrecision):
        raise ValueError(f"{found.name} is asked how it trains: subclass optimizers.amp's class")
    return found


def _precision(world: World, candidate: bool, most_steps: int | None = None) -> Precision:
    """How a side's steps compute: FP32 takes a batch in as many parts as the technique does."""
    arguments = world.arguments
    chosen = _technique(world).precision(arguments["params"], world.target)
    most = most_steps or chosen.most_steps
    if not candidate:
        return Precision(accumulate=chosen.accumulate, most_steps=most)
    return Precision(chosen.dtype, chosen.scaled, chosen.accumulate, most)


def _train(world: World, chosen: Precision) -> tuple[torch.nn.Module, Trace, int]:
    """A fresh model on its device, trained as its own recipe says, in this precision.

    The last is how many steps were skipped before the first that held: GradScaler begins with a
    scale that is too large on purpose, and halves it until gradients are finite.
    """
    torch.manual_seed(world.seed)
    module = world.target.place(world.model.build())
    held: list[int] = []
    with shared.held_out(world.model), precision.use(chosen) as trace:
        # Called within a step, before its loss is noted.
        hook = register_optimizer_step_post_hook(lambda *_: held.append(len(trace.losses)))
        try:
            world.model.train(module, world.seed)  # type: ignore[attr-defined]
        finally:
            hook.remove()
    if not trace.losses:
        raise optimizers.Refused(
            f"{world.model.full_name} does not train through zoo.training.fit, so that nobody "
            "else can choose its precision"
        )
    return module, trace, min(held, default=len(trace.losses))


class _Repeated:
    """The step that a training stopped at, to be taken again and again.

    At rate 0 the weights stay as they are: every call does the same work, where a model that
    learns its one batch by heart would end with subnormal gradients.
    """

    def __init__(self, trace: Trace) -> None:
        assert trace.step is not None
        assert trace.batch is not None
        self.step, self.batch = trace.step, trace.batch
        self.step.trace = None
        layout = torch.channels_last if self.step.recipe.channels_last else torch.contiguous_format
        self.step.module.to(memory_format=layout).train()
        for group in self.step.optimiser.param_groups:
            group["lr"] = 0.0
        self.calls, self.before = 0, self.step.taken

    def __call__(self, batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        # The stopwatch calls in inference mode, where nothing can be trained.
        with torch.inference_mode(False), torch.enable_grad():
            return self.step(batch, labels)

    def hold(self, updates: int) -> None:
        """Go on until the step has made so many updates since its training began.

        Raises RuntimeError where it is skipped at any scale of the loss.
        """
        if self.step.taken < updates and self.step.scaler is not None:
            self.step.scaler.update(LOW_SCALE)
        for _ in range(TRIES):
            if self.step.taken >= updates:
                self.calls, self.before = 0, self.step.taken
                return
            self(*self.batch)
        raise RuntimeError("every step was skipped: without an update there is nothing to measure")

    def skipped(self) -> str | None:
        """Why times of these calls are no times of steps, or None."""
        held = self.step.taken - self.before
        if held >= LEAST_HELD * self.calls:
            return None
        return f"{self.calls - held} of {self.calls} timed steps were skipped"


def _curve(losses: list[float]) -> list[list[float | None]]:
    """[last step, mean loss] of up to MOST_POINTS stretches; None where one is not finite."""
    size = max(1, -(-len(losses) // MOST_POINTS))
    points: list[list[float | None]] = []
    for start in range(0, len(losses), size):
        part = losses[start : start + size]
        mean = math.fsum(part) / len(part) if all(map(math.isfinite, part)) else math.nan
        points.append([start + len(part), round(mean, 6) if math.isfinite(mean) else None])
    return points


__all__ = ["training_consider", "training_memory", "training_run", "training_speed"]
