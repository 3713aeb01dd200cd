"""An OpenVINO IR file, called like the module it was made from."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from optimizers import own_threads
from optimizers.artifact import ArtifactError
from optimizers.base import Device, Optimized
from optimizers.described import describe, described, present
from optimizers.interface import Interface
from optimizers.messages import first_line
from optimizers.onnx_model import OnnxModel

if TYPE_CHECKING:
    import openvino

IR = "model.xml"
_SHAPES_KEPT = 8
_CI = ("CI", "NNCF_CI")

Run = Callable[[dict[str, Tensor]], list[Tensor]]


def missing(target: Device, *packages: str) -> str | None:
    """A sentence saying why OpenVINO cannot serve this target here, or None.

    packages: what is needed besides openvino itself.
    """
    for package in ("openvino", *packages):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed (pip install optgauge[openvino])"
    if target.device != "cpu" and not hasattr(target, "openvino_device"):
        return f"openvino computes on the CPU here, not on {target.device}"
    return None


def device(target: Device) -> str:
    """OpenVINO's name for the target's device; see examples/targets/openvino_device.py."""
    return str(getattr(target, "openvino_device", "CPU"))


@contextlib.contextmanager
def unreported() -> Iterator[None]:
    """Import OpenVINO or NNCF in here: elsewhere it writes into the home folder, and tells Intel.

    Both ask once, at their import, whether this is continuous integration, and keep still there.
    """
    before = {name: os.environ.get(name) for name in _CI}
    os.environ.update(dict.fromkeys(_CI, "true"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def core() -> openvino.Core:
    """OpenVINO's entry, without extensions."""
    with unreported():
        import openvino

    return openvino.Core()


def settings(target: Device, precision: str | None, threads: int | None = None) -> dict[str, Any]:
    """OpenVINO's properties: tuned for one call at a time; on the CPU, one stream of its threads.

    precision: "f32" or another of its names, where the target does not state its own; None leaves
    the choice to the device. threads: at most so many, None for the target's.
    """
    precision = getattr(target, "openvino_precision", precision)
    stated = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    if device(target) != "CPU":
        return {"PERFORMANCE_HINT": "LATENCY", **stated}
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": own_threads.used(threads, target),
        "NUM_STREAMS": 1,
        # The other runtimes pin no thread to a core either.
        "ENABLE_CPU_PINNING": False,
        **stated,
    }


def read(path: Path) -> openvino.Model:
    """The model of an IR or ONNX file; no extension is loaded, so nothing of it is run.

    Raises ArtifactError naming a file that OpenVINO cannot read.
    """
    try:
        return core().read_model(path)
    except RuntimeError as error:
        raise ArtifactError(f"{path} cannot be opened: {_cause(error)}") from error


def _cause(error: RuntimeError) -> str:
    """OpenVINO's message without the places in its own source, which come first."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("Exception")]
    return first_line(RuntimeError("\n".join(lines))) if lines else first_line(error)


class OpenVinoModel(Optimized):
    """A model of OpenVINO's with the module's own call, compiled anew for every shape of inputs.

    model: as read, for any batch size. precision: what inference is told to compute in, None for
    the device's own choice. threads: at most so many, None for the target's.

    Note: shapes that are known are worth a compilation of 0.1 to 0.9 s (kept for the last 8
    shapes): against one graph for any batch, batch 1 of the zoo's ViT takes 0.43 of the time,
    mobilenet_v3_small 0.60, lstm 0.67, efficientnet_lite0 0.80, minilm 0.87. Writing into the
    request's own tensors takes a call of a small MLP from 84 to 15 us.
    """

    def __init__(
        self,
        model: openvino.Model,
        interface: Interface,
        target: Device,
        precision: str | None,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.interface = interface
        self.target = target
        self.precision = precision
        self.threads = threads
        self._runs: OrderedDict[Any, tuple[openvino.CompiledModel, Run]] = OrderedDict()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError for arguments that the graph does not take, naming each."""
        feeds = self.interface.feeds(args, kwargs)
        shapes = tuple(tensor.shape for tensor in feeds.values()), tuple(feeds)
        known = self._runs.get(shapes)
        if known is None:
            known = self._runs[shapes] = self._prepare(feeds)
            if len(self._runs) > _SHAPES_KEPT:
                self._runs.popitem(last=False)
        elif len(self._runs) > 1:
            self._runs.move_to_end(shapes)
        return self.interface.outputs_from(known[1](feeds))

    @property
    def compiled_model(self) -> openvino.CompiledModel:
        """What ran last; before the first call, the model compiled for any batch size."""
        if self._runs:
            return next(reversed(self._runs.values()))[0]
        return self._compile(self.model)

    def save(self, directory: Path) -> None:
        """Write the IR (`model.xml`, `model.bin`) and the interface beside it."""
        import openvino

        openvino.save_model(self.model, directory / IR, compress_to_fp16=False)
        about = {"precision": self.precision, "threads": self.threads}
        describe(directory, self.target, self.interface, **about)

    @classmethod
    def load(cls, directory: Path, target: Device) -> OpenVinoModel:
        """Read the IR for `target`. Raises ArtifactError naming a file that does not fit."""
        _, data, interface = described(directory, target, "precision")
        present(directory / IR, (directory / IR).with_suffix(".bin"))
        threads = own_threads.described(data)
        return cls(read(directory / IR), interface, target, data["precision"], threads)

    def _compile(self, model: openvino.Model) -> openvino.CompiledModel:
        chosen = settings(self.target, self.precision, self.threads)
        return core().compile_model(model, device(self.target), chosen)

    def _prepare(self, feeds: dict[str, Tensor]) -> tuple[openvino.CompiledModel, Run]:
        static = self.model.clone()
        static.reshape({name: list(tensor.shape) for name, tensor in feeds.items()})
        compiled = self._compile(static)
        request = compiled.create_infer_request()
        inputs = {name: request.get_tensor(name).data for name in feeds}
        count = len(compiled.outputs)

        def run(feeds: dict[str, Tensor]) -> list[Tensor]:
            for name, tensor in feeds.items():
                np.copyto(inputs[name], tensor.detach().numpy())
            # Not asynchronous: a second thread costs a switch each way (14 us against 9.5).
            request.infer(share_outputs=True)
            # Copies: the next call writes into the same tensors.
            return [
                torch.from_numpy(np.array(request.get_output_tensor(index).data))
                for index in range(count)
            ]

        return compiled, run


def converted(exported: OnnxModel, target: Device, precision: str | None) -> OpenVinoModel:
    """An exported ONNX file as OpenVINO's own model, called alike, with as many threads."""
    model = read(exported.path)
    return OpenVinoModel(model, exported.interface, target, precision, exported.threads)
