"""What jobs share: the model and target their arguments name, weights, outputs and files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from gauge import outputs, targets
from optimizers import artifact
from suites.plugins import load_plugin

EVALUATION_BATCH = 32
CHECKED_BATCH = 4
ARTIFACT = "artifact"
MOST_OTHERS = 30
MOST_EXAMPLES = 32


class World:
    """The model, target and settings that a job's arguments name."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.threads: int = arguments["threads"]
        self.seed: int = arguments["seed"]
        torch.set_num_threads(self.threads)
        for path in arguments["plugins"]:
            load_plugin(Path(path))

    @functools.cached_property
    def model(self) -> zoo.Model:
        model = zoo.get(self.arguments["model"])
        reason = model.refuses()
        if reason:
            raise zoo.Unavailable(reason)
        return model

    @functools.cached_property
    def target(self) -> targets.Target:
        return self._target(self.arguments["target"])

    @functools.cached_property
    def baseline_target(self) -> targets.Target:
        return self._target(self.arguments.get("baseline_target", self.arguments["target"]))

    def _target(self, name: str) -> targets.Target:
        target = targets.get(name)
        target.threads = self.threads
        reason = target.missing()
        if reason:
            raise RuntimeError(f"target {name}: {reason}")
        target.prepare()
        return target

    def example(self, batch: int) -> zoo.Batch:
        """The model's example; from the file that the baseline's check kept, where it has it.

        Making one may mean reading the whole data set, in every process.
        """
        path = self.arguments.get("examples")
        if path is not None:
            kept = torch.load(path, weights_only=True)
            if batch in kept:
                return kept[batch]
        return self.model.example(batch)

    def others(self, batch: int) -> list[zoo.Batch]:
        """Calls of that size with other inputs than `example(batch)`: rows of a larger example.

        Empty where an argument has no row a sample, so that rows cannot be exchanged.
        """
        size = max(EVALUATION_BATCH, batch)
        args, kwargs = self.example(size)
        given = [*args, *kwargs.values()]
        if not all(isinstance(one, torch.Tensor) and one.shape[:1] == (size,) for one in given):
            return []

        def taken(shift: int) -> zoo.Batch:
            rows = (torch.arange(batch) + shift) % size
            return tuple(one[rows] for one in args), {k: one[rows] for k, one in kwargs.items()}

        return [taken(shift) for shift in range(1, min(size, MOST_OTHERS + 1))]

    def own_folders(self) -> list[Path]:
        """What the harness itself reads in a job, or compilers keep: no part of any artifact."""
        names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
        kept = [Path(os.environ[name]) for name in names if os.environ.get(name)]
        return [Path(self.arguments["examples"]).parent, *kept]

    def fp32(self) -> torch.nn.Module:
        """The baseline module in FP32 on the CPU, in eval mode.

        Raises RuntimeError when its weights are not those that the run's record names.
        """
        torch.manual_seed(self.seed)
        folder = Path(self.arguments["weights"]) / ARTIFACT
        module = artifact.load(folder, targets.get("cpu")).module
        assert module is not None
        expected = self.arguments.get("sha256")
        if expected is not None and weights_hash(module) != expected:
            raise RuntimeError(
                f"the baseline is not the one that was prepared: the weights in {folder} differ"
            )
        return module

    def baseline(self) -> torch.nn.Module:
        """The baseline on its device."""
        return self.baseline_target.place(self.fp32())


class HeldOut(Exception):
    """Something asked for the samples that it will be judged on."""


@contextlib.contextmanager
def held_out(model: zoo.Model) -> Iterator[None]:
    """While it lasts, the model gives no evaluation samples but for examples of a few rows."""
    split, example = model.split, model.example
    giving = False

    def guarded_split(name: str) -> zoo.Split:
        if name == "evaluation" and not giving:
            raise HeldOut(
                "the technique asked for the evaluation split: what has seen the samples that it "
                "is judged on cannot be judged"
            )
        return split(name)

    def guarded_example(batch: int) -> zoo.Batch:
        nonlocal giving
        if batch > MOST_EXAMPLES:
            raise HeldOut(
                f"the technique asked for an example of {batch} rows, which are the evaluation "
                f"split's; {MOST_EXAMPLES} are given at most"
            )
        giving = True
        try:
            return example(batch)
        finally:
            giving = False

    guards = {"split": guarded_split, "example": guarded_example}
    vars(model).update(guards)
    try:
        yield
    finally:
        for name in guards:
            del vars(model)[name]


def weights_hash(module: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes, independent of the file format."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def evaluate(
    call: Callable[..., Any], split: zoo.Split, target: targets.Target, batch: int | None = None
) -> Any:
    """Outputs for a whole split, joined along dimension 0, on the CPU."""
    size = batch or EVALUATION_BATCH
    parts = []
    with torch.inference_mode():
        for one in split.batches(size):
            args, kwargs = target.cast(one)
            parts.append(on_cpu(call(*args, **kwargs)))
    return outputs.join(parts)


def answer(call: Callable[..., Any], split: zoo.Split, target: targets.Target, row: int) -> Any:
    """The outputs for one sample alone, on the CPU."""
    args, kwargs = target.cast(split.take(slice(row, row + 1)))
    with torch.inference_mode():
        return on_cpu(call(*args, **kwargs))


def on_cpu(result: Any) -> Any:
    """The same structure with FP32 copies on the CPU (integers stay integers)."""

    def move(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.float() if tensor.is_floating_point() else tensor

    return outputs.map_tensors(result, lambda tensor: move(tensor.detach().cpu()).clone())


def score(model: zoo.Model, joined: Any, split: zoo.Split, reference: Any) -> np.ndarray:
    """The model's per-sample scores as float64 [n]; raises when they are not that."""
    scores = torch.as_tensor(model.score(joined, split, reference)).double().numpy()
    if scores.shape != (len(split),):
        raise ValueError(
            f"{model.full_name}.score returned shape {scores.shape}; expected ({len(split)},)"
        )
    return scores


def arrays(result: Any) -> dict[str, np.ndarray]:
    """Flattened outputs as arrays by path."""
    return {path: tensor.numpy() for path, tensor in outputs.flatten(result).items()}


def finite(value: Any) -> Any:
    """Plain data with None for each number that is not finite: results travel as strict JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def write_npz(path: Path, content: dict[str, np.ndarray]) -> None:
    """Write an .npz that is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **content)  # type: ignore[arg-type]
    os.replace(temporary, path)


def run_example(world: World, call: Callable[..., Any], batch: int) -> Any:
    """The outputs for the model's example of that batch size, on the CPU."""
    return on_cpu(apply_to(call, world.target, world.example(batch)))


def apply_to(call: Callable[..., Any], target: targets.Target, batch: zoo.Batch) -> Any:
    """What a call with these arguments, put on the target, returns."""
    args, kwargs = target.cast(batch)
    with torch.inference_mode():
        return call(*args, **kwargs)


def load_candidate(world: World) -> Any:
    """The reloaded artifact; for A/A controls (no artifact) a second copy of the baseline."""
    path = world.arguments["artifact"]
    if path is None:
        return world.baseline()
    return artifact.load(Path(path) / ARTIFACT, world.target)
