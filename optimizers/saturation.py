"""Whether int8 products overflow on this CPU, where weights then get a bit less."""

from __future__ import annotations

import platform
from pathlib import Path


def saturates() -> bool:
    """True on x86 without VNNI, which adds up pairs of products in 16 bits."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return "vnni" not in Path("/proc/cpuinfo").read_text()
