"""BF16 on an NVIDIA GPU, told against FP32 on the same device."""

from gauge.targets.base import register
from gauge.targets.cuda import Cuda


@register
class Bf16(Cuda):
    name = "bf16"
    device = "cuda"
    baseline = "cuda"
    dtype = "bfloat16"
    cpu_twin = "bf16_cpu"
