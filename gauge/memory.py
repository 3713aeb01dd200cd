"""Peak memory of one arm, in a process of its own."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Any

from gauge.targets import Target

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"

_PR_SET_THP_DISABLE = 41

# glibc's mallopt parameters: give freed memory back at once and use one arena, or the peak
# depends on what an earlier allocation left behind.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


class PeakMemory:
    """Context: the peak resident memory inside it, above the level at its start.

    Not `ru_maxrss`, which a forked worker inherits from its parent, and not sampling, which missed
    up to a quarter of a short peak: the kernel's own high-water mark (VmHWM), reset at the start.
    On a GPU the peak that torch allocated. `bytes` is None, and `reason` says why, where the
    system does not tell.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.bytes: int | None = None
        self.reason: str | None = None
        self._level = 0

    def __enter__(self) -> PeakMemory:
        if self.target.device == "cuda":
            import torch

            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._level = torch.cuda.memory_allocated()
            return self
        _settle()
        try:
            _CLEAR.write_text(_RESET_PEAK)
            self._level = _field("VmRSS")
        except (OSError, ValueError) as error:
            self.reason = f"the kernel does not tell peak memory here ({error})"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None or self.reason is not None:
            return
        if self.target.device == "cuda":
            import torch

            torch.cuda.synchronize()
            self.bytes = torch.cuda.max_memory_allocated() - self._level
            return
        try:
            self.bytes = max(0, _field("VmHWM") - self._level)
        except (OSError, ValueError) as failure:
            self.reason = f"the kernel does not tell peak memory here ({failure})"

    def as_dict(self) -> dict[str, Any]:
        """{"bytes": int or None, "reason": str or None}."""
        return {"bytes": self.bytes, "reason": self.reason}


def unseen(target: Target, call: Any) -> str | None:
    """Why an arm's peak memory would be missed on this target, or None.

    call: a torch module, or an artifact whose `module` is None where another runtime computes.
    """
    if target.device == "cuda" and getattr(call, "module", call) is None:
        return "torch does not see what another runtime allocates on a GPU"
    return None


def _settle() -> None:
    """Make allocation repeatable; elsewhere than glibc the peak is only a little noisier."""
    library = ctypes.CDLL(None)
    # Whether the kernel hands out a page of 2 MB or of 4 kB is chance, and moved peaks by 15 %.
    if hasattr(library, "prctl"):
        library.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    if not hasattr(library, "mallopt"):
        return
    library.mallopt(_M_ARENA_MAX, 1)
    library.mallopt(_M_MMAP_THRESHOLD, 65536)
    library.mallopt(_M_TRIM_THRESHOLD, 0)
    library.malloc_trim(0)


def _field(name: str) -> int:
    """A size of /proc/self/status in bytes; ValueError when the kernel does not list it."""
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise ValueError(f"{name} is not in {_STATUS}")
