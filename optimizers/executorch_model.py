"""An ExecuTorch program (.pte) run by its Python runtime, called like the module it came from."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optimizers.aot_package import Rows
from optimizers.artifact import ArtifactError
from optimizers.base import Device, Optimized
from optimizers.described import describe, described, present
from optimizers.interface import Interface
from optimizers.messages import first_line

if TYPE_CHECKING:
    from executorch.runtime import Method, Program

FILE = "model.pte"
MOST = 32
"""Largest batch that a program is asked to plan its memory for."""

BACKEND = "XnnpackBackend"


def missing(target: Device) -> str | None:
    """A sentence saying why ExecuTorch cannot serve this target here, or None.

    A package that was built for another torch shows at its import, and at nothing before.
    """
    if importlib.util.find_spec("executorch") is None:
        return "executorch is not installed (pip install optgauge[edge])"
    if target.device != "cpu":
        return f"XNNPACK computes on the CPU, not on {target.device}"
    try:
        with silent():
            from executorch.runtime import Runtime

            backends = Runtime.get().backend_registry.registered_backend_names
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return (
            f"executorch does not fit the installed torch {torch.__version__}: {first_line(error)}"
        )
    if BACKEND not in backends:
        return f"this executorch was built without {BACKEND}: it has {', '.join(backends)}"
    return None


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Import ExecuTorch in here: its own imports warn of what torchao deprecates."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def open_program(path: Path, threads: int) -> tuple[Program, Method]:
    """The program, checked for internal consistency, and its method `forward`.

    A .pte names operators of the runtime and holds tensors: data, no code. threads: of the
    runtime's pool, which all programs of this process share. Raises ArtifactError for a file that
    is damaged or needs an operator that this runtime lacks.
    """
    with silent():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime
    if portable_lib._threadpool_get_thread_count() != threads:
        portable_lib._unsafe_reset_threadpool(threads)
    try:
        program = Runtime.get().load_program(path)
        method = program.load_method("forward")
    except (RuntimeError, KeyError) as error:
        raise ArtifactError(f"{path} cannot be opened: {first_line(error)}") from error
    assert method is not None
    return program, method


class ExecuTorchModel(Optimized):
    """A program for batches of 1 to `most`; larger ones are computed in parts (Rows).

    path: the .pte file. program: what the runtime made of it. most: what the program itself says:
    with torch 2.14, lowering a convolution guards its batch to be below 16, whatever was asked.
    """

    def __init__(self, path: Path, interface: Interface, rows: Rows, target: Device) -> None:
        self.path = Path(path)
        self.interface = interface
        self.rows = rows
        self.target = target
        self.program, self._method = open_program(self.path, target.threads)
        self.most = self._planned()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError or ValueError for arguments that it was not exported for."""
        feeds = self.interface.feeds(args, kwargs)
        inputs = [feeds[slot["name"]].contiguous() for slot in self.interface.inputs.values()]
        count = self.rows.count(inputs)
        if count <= self.most:
            return self.interface.outputs_from(self._method.execute(inputs))
        parts: list[tuple[int, list[Tensor]]] = []
        for start in range(0, count, self.most):
            size = min(self.most, count - start)
            taken = self.rows.take(inputs, start, size, size)
            parts.append((size, list(self._method.execute(taken))))
        return self.interface.outputs_from(self.rows.join(parts))

    def _planned(self) -> int:
        """The largest batch that the program has planned memory for."""
        told = self._method.metadata
        return min(
            told.input_tensor_meta(index).sizes()[dimension]
            for index, (_, dimension) in enumerate(self.rows.inputs)
            if dimension is not None
        )

    def save(self, directory: Path) -> None:
        """Copy the program and write how it is called beside it."""
        shutil.copy2(self.path, directory / FILE)
        describe(directory, self.target, self.interface, rows=self.rows.plain())

    @classmethod
    def load(cls, directory: Path, target: Device) -> ExecuTorchModel:
        """Open the program; optimizers.artifact.load has compared its SHA-256 with the manifest.

        Raises ArtifactError naming a file that does not fit.
        """
        path, data, interface = described(directory, target, "rows")
        present(directory / FILE)
        try:
            rows = Rows(**data["rows"])
        except TypeError as error:
            raise ArtifactError(f"{path} does not say how rows lie: {error}") from error
        return cls(directory / FILE, interface, rows, target)
