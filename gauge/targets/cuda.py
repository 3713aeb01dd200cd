"""FP32 on an NVIDIA GPU, TF32 off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gauge import cold, energy, gpu
from gauge.targets.base import Target, register


@register
class Cuda(Target):
    name = "cuda"
    device = "cuda"
    baseline = "cuda"

    def missing(self) -> str | None:
        import torch

        if torch.version.cuda is None:
            return f"torch {torch.__version__} was built without CUDA"
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        return None

    def capabilities(self) -> list[str]:
        import torch

        major, minor = torch.cuda.get_device_capability()
        return [f"cuda={major}.{minor}"]

    def unit(self) -> str:
        import torch

        # By its place on the bus, which processes and containers see alike, whatever number
        # CUDA_VISIBLE_DEVICES gives it. The slices of a divided GPU share its clock: one unit.
        found = torch.cuda.get_device_properties(torch.cuda.current_device())
        place = (found.pci_domain_id, found.pci_bus_id, found.pci_device_id)  # type: ignore[attr-defined]
        return "gpu-{:04x}-{:02x}-{:02x}".format(*place)

    def prepare(self) -> dict[str, Any]:
        # Autotuning picks kernels by a race, so two processes may run different code.
        import torch

        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        found = torch.cuda.get_device_properties(torch.cuda.current_device())
        return {
            "tf32": False,
            "cudnn_benchmark": False,
            # A slice of a divided GPU has its profile in its name, and fewer multiprocessors.
            "device": torch.cuda.get_device_name(),
            "capability": f"{found.major}.{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def stopwatch(self) -> Callable[[], Callable[[], float]]:
        import torch

        def start() -> Callable[[], float]:
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            begin.record()

            def stop() -> float:
                end.record()
                end.synchronize()
                return begin.elapsed_time(end) / 1e3

            return stop

        return start

    def watch(self) -> Callable[[], dict[str, Any] | None]:
        return gpu.watch(self._uuid())

    def energy_meter(self) -> energy.Meter:
        return energy.nvml(self._uuid())

    def evictor(self) -> cold.Evictor:
        return cold.cuda_evictor()

    @staticmethod
    def _uuid() -> str:
        import torch

        return str(torch.cuda.get_device_properties().uuid)
