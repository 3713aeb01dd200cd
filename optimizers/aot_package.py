"""Programs that torch's inductor compiled ahead of time, called like the module they came from."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from optimizers.artifact import ArtifactError
from optimizers.base import Device, Optimized
from optimizers.described import describe, described, present
from optimizers.interface import Interface
from optimizers.messages import first_line

ANY = 0
"""In place of a batch size: a package that takes every size."""

_WORTH = 0.25
"""Share of a package's rows from which filling the others costs less than single calls."""


@dataclass(frozen=True)
class Rows:
    """Where the samples of a call lie; plain data.

    inputs: (shape, dimension of the samples or None) of each, in the program's order. Sizes along
    that dimension are those of the example. outputs: dimension of the samples of each output.
    """

    inputs: list[tuple[list[int], int | None]]
    outputs: list[int]

    def count(self, tensors: Sequence[Tensor]) -> int:
        """The batch size of a call.

        Raises ValueError for another shape than was compiled for: the program does not look, and
        would read memory that is not its own.
        """
        counts = set()
        for tensor, (shape, dimension) in zip(tensors, self.inputs, strict=True):
            found = list(tensor.shape)
            if dimension is not None and len(found) == len(shape):
                counts.add(found[dimension])
                found[dimension] = shape[dimension]
            if found != shape:
                raise ValueError(f"compiled for inputs like {shape}, found {list(tensor.shape)}")
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"inputs of {sorted(counts)} samples in one call")
        return counts.pop()

    def take(self, tensors: Sequence[Tensor], start: int, count: int, size: int) -> list[Tensor]:
        """`count` samples from `start`, the last one repeated up to `size`."""
        return [
            tensor if dimension is None else _filled(tensor, dimension, start, count, size)
            for tensor, (_, dimension) in zip(tensors, self.inputs, strict=True)
        ]

    def join(self, parts: Sequence[tuple[int, Sequence[Tensor]]]) -> list[Tensor]:
        """The outputs of (samples that count, outputs) one after another."""
        return [
            torch.cat(
                [outputs[index].narrow(dimension, 0, count) for count, outputs in parts], dimension
            )
            for index, dimension in enumerate(self.outputs)
        ]

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it; `Rows(**plain)` is the inverse."""
        return asdict(self)


def _filled(tensor: Tensor, dimension: int, start: int, count: int, size: int) -> Tensor:
    part = tensor.narrow(dimension, start, count)
    if count < size:
        last = part.narrow(dimension, count - 1, 1)
        part = torch.cat([part, *[last] * (size - count)], dimension)
    return part.contiguous()


def division(count: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """How a batch of `count` is computed by packages of fixed sizes: (samples, size) of each call.

    The largest size as often as it fits; the rest in one call that is filled up where at least a
    quarter of it counts, else in calls of the next smaller size.

    >>> division(67, [1, 32])
    [(32, 32), (32, 32), (1, 1), (1, 1), (1, 1)]
    >>> division(16, [1, 32])
    [(16, 32)]
    """
    *smaller, size = sorted(sizes)
    calls = [(size, size)] * (count // size)
    rest = count % size
    if not rest:
        return calls
    if not smaller or (rest not in smaller and rest >= _WORTH * size):
        return [*calls, (rest, size)]
    return calls + division(rest, smaller)


class AotPackage(Optimized):
    """Packages of one module for one CPU or GPU: one for any batch size, or one for each of some.

    Other sizes than those are computed in parts (`division`), which Rows makes possible.

    files: batch size (or ANY) -> .pt2. details: counts for gauge to look for, saved with it.
    """

    def __init__(
        self,
        files: Mapping[int, Path],
        interface: Interface,
        rows: Rows,
        target: Device,
        details: dict[str, Any] | None = None,
    ) -> None:
        self.files = {size: Path(path) for size, path in files.items()}
        self.interface = interface
        self.rows = rows
        self.target = target
        self.details = details or {}
        self.packages = {size: open_package(path) for size, path in self.files.items()}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError or ValueError for arguments that it was not compiled for."""
        feeds = self.interface.feeds(args, kwargs)
        # In the program's order, and laid out row by row: the program does not look at strides.
        inputs = [feeds[slot["name"]].contiguous() for slot in self.interface.inputs.values()]
        count = self.rows.count(inputs)
        package = self.packages.get(count) or self.packages.get(ANY)
        if package is not None:
            return self.interface.outputs_from(package.boxed_run(inputs))
        return self.interface.outputs_from(self._in_parts(inputs, count))

    def _in_parts(self, inputs: list[Tensor], count: int) -> list[Tensor]:
        parts, start = [], 0
        for samples, size in division(count, list(self.packages)):
            taken = self.rows.take(inputs, start, samples, size)
            parts.append((samples, self.packages[size].boxed_run(taken)))
            start += samples
        return self.rows.join(parts)

    def save(self, directory: Path) -> None:
        """Copy the packages and write how they are called beside them."""
        names = {}
        for size, file in self.files.items():
            names[str(size)] = f"model-b{size}.pt2" if size else "model.pt2"
            shutil.copy2(file, directory / names[str(size)])
        describe(
            directory,
            self.target,
            self.interface,
            instructions=instructions(),
            packages=names,
            rows=self.rows.plain(),
            details=self.details,
        )

    @classmethod
    def load(cls, directory: Path, target: Device) -> AotPackage:
        """Open the packages; optimizers.artifact.load has compared every file with the manifest.

        Raises ArtifactError for a file that does not fit, and for another CPU's instructions:
        the package would end the process.
        """
        path, data, interface = described(directory, target, "instructions", "packages", "rows")
        if data["instructions"] != instructions():
            raise ArtifactError(
                f"{path} was compiled for {data['instructions']}, and this CPU has "
                f"{instructions()}: apply the technique here"
            )
        files = {int(size): directory / Path(name).name for size, name in data["packages"].items()}
        present(*files.values())
        try:
            rows = Rows(**data["rows"])
        except TypeError as error:
            raise ArtifactError(f"{path} does not say how rows lie: {error}") from error
        return cls(files, interface, rows, target, data.get("details"))


def instructions() -> str:
    """The widest vector instructions of this CPU, as torch names them."""
    return torch.backends.cpu.get_cpu_capability()


def open_package(path: Path) -> Any:
    """Map a package into this process: it is machine code from here on.

    Not `torch._inductor.aoti_load_package`, which imports the compiler (seconds) and unpickles
    weights where the file has any beside the program.
    """
    try:
        with _unpacked_into_nothing():
            return torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    except RuntimeError as error:
        raise ArtifactError(f"{path} cannot be opened: {first_line(error)}") from error


@contextlib.contextmanager
def _unpacked_into_nothing() -> Iterator[None]:
    """Have the loader unpack into a folder that is removed once the program is mapped.

    It would else remove it when the process ends in the usual way, which a killed one does not.
    """
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before
