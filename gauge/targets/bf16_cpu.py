"""BF16 on the CPU; fast only with avx512_bf16 or amx_bf16."""

from gauge.targets.base import register
from gauge.targets.cpu import Cpu


@register
class Bf16Cpu(Cpu):
    name = "bf16_cpu"
    dtype = "bfloat16"
    standard = ("resnet18-none",)
