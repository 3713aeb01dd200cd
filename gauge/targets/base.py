"""What a target is, and the registry. torch is imported inside methods: the parent has none."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from gauge import cold, energy

if TYPE_CHECKING:
    from torch import nn

Batch = tuple[tuple[Any, ...], dict[str, Any]]


class Target:
    """A device and a number format; subclass it with literal attributes, one file a target.

    device: torch's device type. dtype: torch's dtype name. baseline: the FP32 target on the same
    device, which this one is compared with. cpu_twin: what to name where the device is missing.
    """

    name: ClassVar[str] = ""
    device: ClassVar[str] = "cpu"
    dtype: ClassVar[str] = "float32"
    baseline: ClassVar[str] = "cpu"
    cpu_twin: ClassVar[str] = "cpu"
    standard: ClassVar[tuple[str, ...] | None] = None
    """Globs over `model-technique`: what the standard matrix holds here; None is everything."""

    techniques: ClassVar[tuple[str, ...] | None] = None
    """Techniques whose artifacts this device can run, as a pipeline's last stage; None is any.

    For devices that torch does not know: everything else would compute on the host, and its times
    would be stored under this name.
    """

    threads: int = 1

    def missing(self) -> str | None:
        """A sentence saying why this target cannot be used here, or None. Runs in a worker."""
        return None

    def capabilities(self) -> list[str]:
        """What limits may require (`avx512_vnni`, `cuda>=8.0` is compared by number)."""
        return []

    def unit(self) -> str:
        """A word for the very device that is used: one timed section at a time runs on it."""
        return self.device

    def prepare(self) -> dict[str, Any]:
        """Fix what changes results or speed (TF32, autotuning); returns the settings, to record."""
        return {}

    def place(self, module: nn.Module) -> nn.Module:
        """The module on the device, floating-point weights in the number format."""
        import torch

        return module.to(device=self.device, dtype=getattr(torch, self.dtype))

    def cast(self, batch: Batch) -> Batch:
        """Arguments on the device; floating-point tensors in the number format."""
        import torch

        dtype = getattr(torch, self.dtype)

        def move(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return value.to(self.device, dtype if value.is_floating_point() else None)

        args, kwargs = batch
        return tuple(move(arg) for arg in args), {name: move(arg) for name, arg in kwargs.items()}

    def synchronize(self) -> None:
        """Wait until the device has finished what it was given."""

    def stopwatch(self) -> Callable[[], Callable[[], float]]:
        """start() returns stop(), which returns seconds on the device's own clock."""

        def start() -> Callable[[], float]:
            began = time.perf_counter()
            return lambda: time.perf_counter() - began

        return start

    def watch(self) -> Callable[[], dict[str, Any] | None]:
        """Start watching the device; the result tells its state, see gauge.gpu; None: nothing."""
        return lambda: None

    def energy_meter(self) -> energy.Meter:
        """The counter of the energy that this device takes."""
        if self.device == "cpu":
            return energy.rapl()
        return energy.none(f"no counter is known for {self.device}")

    def evictor(self) -> cold.Evictor:
        """What empties the device's caches between calls; raises where that is not known."""
        if self.device != "cpu":
            raise NotImplementedError(f"target {self.name}: no way to empty its caches is known")
        return cold.cpu_evictor()


_registry: dict[str, type[Target]] = {}


def register(target: type[Target]) -> type[Target]:
    """Class decorator: makes the target known by its name."""
    if not target.name:
        raise ValueError(f"target {target.__name__} has no name")
    known = _registry.get(target.name)
    if known is not None:
        raise ValueError(
            f"target {target.name!r} is registered twice: "
            f"{known.__module__} and {target.__module__}"
        )
    _registry[target.name] = target
    return target


def _load_all() -> None:
    import gauge.targets

    for module in pkgutil.iter_modules(gauge.targets.__path__):
        importlib.import_module(f"gauge.targets.{module.name}")


def get(name: str) -> Target:
    """A new target of that name; KeyError when there is none."""
    if name not in _registry:
        _load_all()
    return _registry[name]()


def names() -> list[str]:
    """All registered names, sorted."""
    _load_all()
    return sorted(_registry)
