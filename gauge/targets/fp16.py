"""FP16 on an NVIDIA GPU, told against FP32 on the same device."""

from gauge.targets.base import register
from gauge.targets.cuda import Cuda


@register
class Fp16(Cuda):
    name = "fp16"
    device = "cuda"
    baseline = "cuda"
    dtype = "float16"
    cpu_twin = "fp16_cpu"
