"""Cold caches: throw what a call left in them out again, before the next one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = ("warm", "cold")
"""warm: calls follow each other, and find their weights in the caches. cold: before each call a
buffer larger than the last-level cache is read through, so that weights come from memory."""

# Caches do not evict the oldest line exactly: a little more than their size is read.
_OVERSIZE = 1.25
_UNKNOWN = 256 * 2**20


@dataclass(frozen=True)
class Evictor:
    """call: evicts. facts: sizes in bytes of the last-level cache and the buffer, to record."""

    call: Callable[[], None]
    facts: dict[str, Any]


def cpu_evictor() -> Evictor:
    """Reads through a buffer with all of torch's threads: each core has caches of its own."""
    import torch

    size, source = last_level_cache()
    # Ones, not zeros: pages never written all map to the kernel's one page of zeros.
    buffer = torch.ones(int(_OVERSIZE * size) // 8, dtype=torch.int64)
    return Evictor(lambda: _read(buffer), _facts(size, source, buffer.nbytes))


def cuda_evictor() -> Evictor:
    """Overwrites a buffer on the current device, queued before the call like any kernel."""
    import torch

    size = torch.cuda.get_device_properties().L2_cache_size
    buffer = torch.ones(int(_OVERSIZE * size) // 8, dtype=torch.int64, device="cuda")
    return Evictor(lambda: _write(buffer), _facts(size, "the device's L2", buffer.nbytes))


def _read(buffer: Any) -> None:
    buffer.sum()


def _write(buffer: Any) -> None:
    buffer.zero_()


def _facts(size: int, source: str, buffer: int) -> dict[str, Any]:
    return {"last_level_bytes": size, "last_level_source": source, "buffer_bytes": buffer}


def last_level_cache(root: str | Path = "/") -> tuple[int, str]:
    """(bytes, where that was read) of the largest cache of CPU 0; 256 MiB where nothing tells."""
    sizes = []
    for path in Path(root, "sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        sizes.append(int(text.rstrip("KMG")) * {"K": 2**10, "M": 2**20, "G": 2**30}[text[-1]])
    if sizes:
        return max(sizes), "sysfs"
    told = [os.sysconf(f"SC_LEVEL{level}_CACHE_SIZE") for level in (2, 3, 4)] if root == "/" else []
    if max(told, default=0) > 0:
        return max(told), "sysconf"
    return _UNKNOWN, "not told by this system: assumed"
