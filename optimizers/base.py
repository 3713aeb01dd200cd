"""What a technique is: the plug-in classes and the registry."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import nn

from zoo import Batch, Model, Split, Unavailable


class Refused(Exception):
    """The technique cannot be applied here; the message is a sentence shown as it is."""


class Device(Protocol):
    """What techniques see of a target: see gauge.targets.Target."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def threads(self) -> int: ...
    def capabilities(self) -> list[str]: ...
    @property
    def techniques(self) -> tuple[str, ...] | None: ...
    def place(self, module: nn.Module) -> nn.Module: ...
    def cast(self, batch: Batch) -> Batch: ...


@dataclass(frozen=True)
class Automatic:
    """What a technique that chooses pipelines itself gets beside what all others get.

    max_drop: how much of the score may go, a fraction. optimise_for: "latency" (a call with one
        sample), "throughput" (samples a second, in calls with up to `batch` of them), "size" (bytes
        of the artifact) or "energy" (joules of a call with one sample). allow: the widest change,
        one of Technique.changes. fidelity: the least agreement with FP32 (without labels the
        lowest cosine) while the architecture stays, or None.
    baseline_target: the FP32 target of the same device.
    name: stages -> the pipeline's name as `--technique` takes it.
    run: (artifact or module, split, target) -> outputs of the whole split, on the CPU.
    alike: (FP32's outputs, others, labels) -> what makes them no answers at all, if anything, and
        the agreement or lowest cosine.
    audit: (artifact, its folder, claims, FP32 that it was made from, on its device, what its last
        stage began with, or None for the same) -> those claims that are not found in it.
    judged_on: how many samples (groups, where they are grouped) the accuracy gate will have, None
        where that is not known. margin: how many standard errors of theirs it adds to a drop.
    speed: how many times as fast as FP32 a call with one sample must be at least, where something
        else is wanted; None where that is not gated.
    keep: (an eager module, the records of its stages) is told what was found before its last stage.
    """

    max_drop: float
    optimise_for: str
    allow: str
    batch: int
    fidelity: float | None
    baseline_target: Device
    name: Callable[[Sequence[tuple[str, dict[str, Any]]]], str]
    run: Callable[[Callable[..., Any], Split, Device], Any]
    alike: Callable[[Any, Any, Any], tuple[str | None, float | None]]
    audit: Callable[[Optimized, Path, Sequence[str], nn.Module, nn.Module | None], list[str]]
    judged_on: int | None = None
    margin: float = 1.645
    speed: float | None = None
    keep: Callable[[Any, list[dict[str, Any]]], None] | None = None

    def goes_on(self, target: Device) -> bool:
        """Whether what comes before a last stage can be taken from a trial of its own.

        On FP32's own target alone: elsewhere its weights are rounded, or its place is another.
        """
        return target.name == self.baseline_target.name


@dataclass
class Context:
    """What `apply` may use. The evaluation split is not in it on purpose."""

    model: Model
    target: Device
    params: dict[str, Any]
    seed: int
    workdir: Path
    notes: dict[str, Any] = field(default_factory=dict)
    """Plain data that `rebuild` needs to make the same structure again; saved with the artifact."""
    budget: dict[str, float] = field(default_factory=dict)
    """What the user allows, for a technique that is `budgeted`: `latency_ms` (of a call with one
    sample) and `size_mb` (10^6 bytes of weights); a budget that was not stated is left out."""
    kept: Path | None = None
    """A folder (perhaps not there yet) that outlives a stopped `apply` of the same artifact, so
    that the next one goes on; None where nothing is kept."""
    worth: Callable[[nn.Module], None] | None = None
    """Asked before a training, which takes long, of a module with the structure that it will leave;
    raises where that is not worth it."""
    exported: Path | None = None
    """A folder where exports are kept for others of the same module; None where there are none."""
    automatic: Automatic | None = None
    """The user's goal and the judges, for a technique that is `automatic`."""
    made: list[dict[str, Any]] = field(default_factory=list)
    """Records of stages that a technique has applied itself: they follow its own."""

    def calibration(self, size: int = 32) -> Iterator[Batch]:
        """Batches of the calibration split, FP32 on the CPU. Raises Refused when there is none."""
        split = self._split("calibration")
        return split.batches(size)

    def train(self) -> Split:
        """The training split. Raises Refused when the model has none."""
        return self._split("train")

    def _split(self, name: str) -> Split:
        try:
            split = self.model.split(name)
        except Unavailable as reason:
            raise Refused(f"{self.model.full_name} has no {name} split: {reason}") from reason
        if not len(split):
            raise ValueError(f"the {name} split of {self.model.full_name} is empty")
        return split


class Optimized:
    """What a technique returns. Subclass it where saving a module's weights is not enough.

    module: the eager module for the next stage, or None when a pipeline ends here.
    ends: whether a pipeline ends here although there is a module: a later stage would lose what
        this one did.
    batch: the only batch size it accepts, or None for any.
    tolerance: largest difference after reload, as a share of the largest output; a value above
        1e-5 needs `tolerance_reason`.
    """

    module: nn.Module | None = None
    ends: bool = False
    batch: int | None = None
    tolerance: float = 1e-5
    tolerance_reason: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        """Write every file the artifact needs into `directory` (it exists and is empty)."""
        raise NotImplementedError

    @classmethod
    def load(cls, directory: Path, target: Device) -> Optimized:
        """Open a saved artifact in a fresh process. Must not execute what it reads."""
        raise NotImplementedError


class Technique:
    """An optimisation technique; its class attributes are literals, read without importing it.

    changes: "numerics" (class A), "structure" (B) or "architecture" (C).
    claims: what gauge must find in the reloaded artifact; none is a failure.
    variants: parameter sets; all name the same parameters in the same order, the first is the
        default, and a value given in an id (`name:0.7`) is read as the type of the first's.
    lossless: True where the result computes what FP32 computes, up to rounding.
    standard: globs of the models that the standard matrix meets with the first variant; None is
        every model, () is none.
    suite: "gates", or "training" for what changes how models train (optimizers/amp.py): it has
        no apply() but precision(), and only suites/test_training.py asks it.
    budgeted: whether it keeps to the user's `--latency-budget` and `--size-budget`.
    automatic: whether it chooses pipelines itself, by the user's goal (`--max-drop` …); it is
        then no stage of any.
    scale: (parameter, values from mild to strong) that a search may try beyond the variants.
    rescues: techniques with the same kernels and less work: a search tries this one only where
        none of them keeps the accuracy.
    akin: techniques that generate their code in the same way: a search skips this one where one of
        them keeps the accuracy and is far slower than the best.
    quicker: how many times less than theirs its code may take.
    sparing: (parameter, value) with which it leaves in FP32 the layers that bear the change worst.
    costless: parameters that make a call no cheaper: a search tries their other values only where
        the first ones do not keep the accuracy.
    compiles: whether it builds machine code, which takes long: a search tries it late.
    """

    name: ClassVar[str] = ""
    family: ClassVar[str] = ""
    changes: ClassVar[str] = "numerics"
    claims: ClassVar[tuple[str, ...]] = ()
    variants: ClassVar[tuple[dict[str, Any], ...]] = ()
    lossless: ClassVar[bool] = False
    standard: ClassVar[tuple[str, ...] | None] = None
    suite: ClassVar[str] = "gates"
    budgeted: ClassVar[bool] = False
    automatic: ClassVar[bool] = False
    scale: ClassVar[tuple[str, tuple[float, ...]] | None] = None
    rescues: ClassVar[tuple[str, ...]] = ()
    akin: ClassVar[tuple[str, ...]] = ()
    quicker: ClassVar[float] = 1.0
    sparing: ClassVar[tuple[str, Any] | None] = None
    costless: ClassVar[tuple[str, ...]] = ()
    compiles: ClassVar[bool] = False

    def refuses(self, model: Model, target: Device) -> str | None:
        """A sentence saying why not, shown as it is, or None. Runs in a worker."""
        return None

    def files(self, model: Model) -> list[Path]:
        """Files of the user's that `apply` reads: when one changes, cached artifacts are stale."""
        return []

    def claims_for(self, target: Device) -> tuple[str, ...]:
        """The claims on this target; override where it decides what there is to find."""
        return self.claims

    def apply(self, module: nn.Module, context: Context) -> Optimized:
        """Optimise `module` (FP32, in eval mode, on the CPU, this call's own copy)."""
        raise NotImplementedError

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        """Give an untrained `module` the structure that `apply` gives, so that weights load."""
        return module


_registry: dict[str, Technique] = {}


def register(technique: type[Technique]) -> type[Technique]:
    """Class decorator: makes the technique known by its name."""
    if not technique.name:
        raise ValueError(f"technique {technique.__name__} has no name")
    known = _registry.get(technique.name)
    if known is not None:
        raise ValueError(
            f"technique {technique.name!r} is registered twice: "
            f"{type(known).__module__} and {technique.__module__}"
        )
    _registry[technique.name] = technique()
    return technique


def _load_all() -> None:
    import optimizers

    for module in pkgutil.iter_modules(optimizers.__path__):
        importlib.import_module(f"optimizers.{module.name}")


def get(name: str) -> Technique:
    """The technique of that name (without parameters); KeyError when there is none."""
    if name not in _registry:
        _load_all()
    return _registry[name]


def names() -> list[str]:
    """All registered names, sorted."""
    _load_all()
    return sorted(_registry)
