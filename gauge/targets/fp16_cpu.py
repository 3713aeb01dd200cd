"""Half precision (FP16) on the CPU: 10 to 40 times slower than FP32 without avx512_fp16."""

from gauge.targets.base import register
from gauge.targets.cpu import Cpu


@register
class Fp16Cpu(Cpu):
    name = "fp16_cpu"
    dtype = "float16"
    standard = ("digits_mlp-none",)
