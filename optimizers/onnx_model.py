"""An ONNX file run by onnxruntime, called like the module it was exported from."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from torch import Tensor

from optimizers import own_threads
from optimizers.artifact import ArtifactError
from optimizers.base import Device, Optimized
from optimizers.described import describe, described, present
from optimizers.interface import Interface
from optimizers.messages import first_line
from zoo import Batch

if TYPE_CHECKING:
    import onnxruntime

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FALL_BACKS = {"TensorrtExecutionProvider": ("CUDAExecutionProvider",)}

# ONNX's numbers; numpy has no bfloat16 to name them by.
_ELEMENT_TYPES = {
    torch.float32: 1,
    torch.uint8: 2,
    torch.int8: 3,
    torch.int32: 6,
    torch.int64: 7,
    torch.bool: 9,
    torch.float16: 10,
    torch.float64: 11,
    torch.bfloat16: 16,
}


def missing(target: Device, provider: str | None = None, hint: str | None = None) -> str | None:
    """A sentence saying why onnxruntime cannot serve this target here, or None.

    provider: instead of the target's usual one. hint: how to get it.
    """
    try:
        import onnxruntime
    except ImportError:
        return 'onnxruntime is not installed (pip install "optgauge[cpu]" or "optgauge[gpu]")'
    provider = provider or _PROVIDERS.get(target.device)
    if provider is None:
        return f"no onnxruntime provider is known for {target.device}"
    if provider not in onnxruntime.get_available_providers():
        how = hint or 'pip install "optgauge[gpu]"'
        return f"onnxruntime here has no {provider} ({how})"
    return None


def host_provider(target: Device) -> str | None:
    """What checks an exported graph for a device that onnxruntime does not know; None elsewhere.

    The graph is only on its way to the device's own runtime.
    """
    return None if target.techniques is None else _PROVIDERS["cpu"]


def errors() -> tuple[type[Exception], ...]:
    """onnxruntime's exceptions, which share no base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(
        found
        for found in vars(state).values()
        if isinstance(found, type) and issubclass(found, Exception)
    )


def open_session(path: Path, provider: str, threads: int) -> onnxruntime.InferenceSession:
    """A session on exactly that provider, with `threads` threads inside an operator.

    What TensorRT has no engine for runs on CUDA, node by node.

    Raises ArtifactError naming a file that onnxruntime cannot open, and RuntimeError where it fell
    back to another provider: its times would be stored under the wrong device.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Errors come as exceptions too; printed ones only repeat them.
    options.log_severity_level = 4
    with warnings.catch_warnings():
        # A provider that is not there is told as an error below.
        warnings.filterwarnings("ignore", message="Specified provider")
        try:
            session = onnxruntime.InferenceSession(
                path, options, providers=[provider, *_FALL_BACKS.get(provider, ())]
            )
        except errors() as error:
            raise ArtifactError(f"{path} cannot be opened: {first_line(error)}") from error
    used = session.get_providers()
    if used[0] != provider:
        raise RuntimeError(f"asked for {provider}, got {', '.join(used)}")
    return session


class OnnxModel(Optimized):
    """A session with the module's own call: torch tensors in, the same structure out.

    session: the onnxruntime session. path: the ONNX file. interface: names, dtypes, structure.
    provider: instead of the target's usual one. threads: at most so many, None for the target's.
    """

    def __init__(
        self,
        path: Path,
        interface: Interface,
        target: Device,
        provider: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.interface = interface
        self.target = target
        self.provider = provider or _PROVIDERS[target.device]
        self.threads = threads
        self.session = open_session(self.path, self.provider, own_threads.used(threads, target))
        self._names = [output.name for output in self.session.get_outputs()]
        # The public `run` checks the inputs' names, which `feeds` has done: it takes a fifth of a
        # call of a small perceptron. Where a release hides what it calls, it is called itself.
        self._compute = getattr(self.session, "_sess", self.session).run
        on_cpu = self.provider == _PROVIDERS["cpu"]
        self._run = self._run_arrays if on_cpu else self._run_bound

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError for arguments that the graph does not take, naming each."""
        return self.interface.outputs_from(self._run(self.interface.feeds(args, kwargs)))

    def feeds(self, batch: Batch) -> dict[str, Any]:
        """A call's arguments as arrays by the graph's inputs."""
        args, kwargs = batch
        return {
            name: tensor.detach().cpu().numpy()
            for name, tensor in self.interface.feeds(args, kwargs).items()
        }

    def files(self) -> list[Path]:
        """The ONNX file, and those it keeps weights in where they are too large to be inside.

        Raises ValueError for weights outside its folder.
        """
        graph = onnx.load(self.path, load_external_data=False).graph
        beside = {
            entry.value
            for tensor in graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        for name in beside:
            if Path(name).name != name:
                raise ValueError(f"{self.path} keeps weights in {name}, outside its folder")
        return [self.path, *(self.path.with_name(name) for name in sorted(beside))]

    def save(self, directory: Path) -> None:
        """Copy the files and write the interface beside them."""
        for file in self.files():
            shutil.copy2(file, directory / file.name)
        describe(
            directory,
            self.target,
            self.interface,
            file=self.path.name,
            provider=self.provider,
            threads=self.threads,
        )

    @classmethod
    def load(cls, directory: Path, target: Device) -> OnnxModel:
        """Open the file on `target`. Raises ArtifactError naming a file that does not fit."""
        path, data, interface = described(directory, target, "file", "provider")
        file = directory / Path(data["file"]).name
        present(file)
        known = (*_PROVIDERS.values(), *_FALL_BACKS)
        if data["provider"] not in known:
            raise ArtifactError(f"{path} asks for {data['provider']!r}, not one of {known}")
        return cls(file, interface, target, data["provider"], own_threads.described(data))

    def _run_arrays(self, feeds: dict[str, Tensor]) -> list[Tensor]:
        # numpy shares memory with a CPU tensor both ways: nothing is copied.
        arrays = {
            name: (tensor.detach() if tensor.requires_grad else tensor).numpy()
            for name, tensor in feeds.items()
        }
        found = self._compute(self._names, arrays, None)
        return [torch.from_numpy(np.asarray(array)) for array in found]

    def _run_bound(self, feeds: dict[str, Tensor]) -> list[Tensor]:
        """Inputs and outputs stay on the device."""
        binding = self.session.io_binding()
        held = {name: tensor.detach().contiguous() for name, tensor in feeds.items()}
        for name, tensor in held.items():
            device = (tensor.device.type, tensor.device.index or 0)
            kind = _ELEMENT_TYPES[tensor.dtype]
            binding.bind_input(name, *device, kind, list(tensor.shape), tensor.data_ptr())
        for name in self._names:
            binding.bind_output(name, self.target.device)
        if self.target.device == "cuda":
            # onnxruntime has a stream of its own and does not wait for torch's.
            torch.cuda.current_stream().synchronize()
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return [torch.from_dlpack(output) for output in binding.get_outputs()]
