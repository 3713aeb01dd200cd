"""FP32 on the CPU."""

from gauge.machine import cpu_flags
from gauge.targets.base import Target, register


@register
class Cpu(Target):
    name = "cpu"

    def capabilities(self) -> list[str]:
        return cpu_flags()
