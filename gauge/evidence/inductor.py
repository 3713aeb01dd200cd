"""What an artifact compiled by torch's inductor really runs: its packages, oneDNN's primitives."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from gauge.evidence.base import WEIGHTY, Finding, Subject, description

_WITH_WEIGHTS = ("convolution", "deconvolution", "matmul", "inner_product", "rnn")
_TYPE = re.compile(r"\b(src|wei)(?:_layer)?:([a-z0-9]+)")


@dataclass(frozen=True)
class Primitive:
    """One oneDNN call: kind, implementation, number formats of source and weights, weights."""

    kind: str
    implementation: str
    source: str
    weights: str
    size: int

    @property
    def integer(self) -> bool:
        return {self.source, self.weights} <= {"u8", "s8"}


def packages(subject: Subject) -> list[Path]:
    """The artifact's own packages; the candidate's word is not taken for them."""
    return sorted(subject.directory.glob("*.pt2"))


def primitives(subject: Subject) -> list[Primitive]:
    """The primitives with weights that one call executed, as oneDNN itself reports them.

    The compiled program calls oneDNN without torch's dispatcher, so torch's profiler sees nothing.
    """
    subject.run()
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        kept = os.dup(1)
        # oneDNN writes to the process's standard output, not to Python's.
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                subject.run()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        text = file.read().decode(errors="replace")
    return parse(text)


def parse(text: str) -> list[Primitive]:
    """The executed primitives with weights in a oneDNN log (version 3's comma-separated lines)."""
    found = []
    for line in text.splitlines():
        parts = line.split(",")
        if not line.startswith("onednn_verbose") or "exec" not in parts:
            continue
        kind, implementation, _, memory, *_ = parts[parts.index("exec") + 2 :]
        if kind in _WITH_WEIGHTS:
            types = dict(_TYPE.findall(memory))
            found.append(
                Primitive(
                    kind,
                    implementation,
                    types.get("src", "?"),
                    types.get("wei", "?"),
                    _weights(kind, parts[-2]),
                )
            )
    return found


def _weights(kind: str, problem: str) -> int:
    """How many weights a problem description has: `mb1_ic64oc64_…kh3…` or `2x512:512x10`."""
    if kind in ("matmul", "inner_product") and ":" in problem:
        return prod(int(n) for n in problem.split(":")[1].split("x"))
    sizes = {name: int(n) for name, n in re.findall(r"(g|ic|oc|kd|kh|kw)(\d+)", problem)}
    kernel = prod(sizes.get(name, 1) for name in ("kd", "kh", "kw"))
    return sizes.get("ic", 0) * sizes.get("oc", 0) // sizes.get("g", 1) * kernel


def holds(subject: Subject, values: Any) -> bool:
    """Whether every package holds the bytes of this array among its constants."""
    needle = values.detach().contiguous().numpy().tobytes()
    found = [needle in constants(path) for path in packages(subject)]
    return bool(found) and all(found)


_read: dict[Path, bytes] = {}


def constants(path: Path) -> bytes:
    """The shared objects inside a package, kept for the next question about the same one."""
    if path not in _read:
        _read.clear()
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".so")]
            _read[path] = b"".join(archive.read(name) for name in names)
    return _read[path]


def runtime(subject: Subject) -> Finding:
    """Packages compiled for the target's device, mapped into this process and not by-passed."""
    files = packages(subject)
    loaded = list(subject.candidate.packages.values())
    devices = [one.get_metadata().get("AOTI_DEVICE_KEY", "?") for one in loaded]
    # An eager layer would show as the operator that torch's dispatcher runs for it.
    eager = {name: n for name, n in subject.operators.items() if name in _EAGER}
    ran = primitives(subject) if subject.target.device == "cpu" else []
    implementations = Counter(one.implementation for one in ran)
    numbers = {
        "packages": [file.name for file in files],
        "devices": devices,
        "eager": eager,
        "primitives": dict(implementations),
    }
    if not files or len(loaded) != len(files) or set(devices) != {subject.target.device}:
        text = f"{len(loaded)} packages open of {len(files)} files, for {', '.join(devices)}"
        return Finding(False, text, numbers)
    if eager:
        return Finding(False, f"layers ran in eager torch: {', '.join(sorted(eager))}", numbers)
    isa = loaded[0].get_metadata().get("AOTI_CPU_ISA", "")
    text = f"{len(files)} compiled for {devices[0]} {isa}".rstrip()
    if implementations:
        named = ", ".join(f"{n} {name}" for name, n in implementations.most_common(3))
        text += f"; {len(ran)} oneDNN primitives with weights a call ({named})"
    return Finding(True, text, numbers)


_EAGER = ("aten::linear", "aten::conv2d", "aten::lstm", "aten::embedding", "aten::layer_norm")


def integer_share(subject: Subject) -> Finding:
    """The baseline's layers with weights that computed in integers, and their weights' share."""
    eligible = [
        sum(p.numel() for p in layer.parameters(recurse=False) if p.dim() >= 2)
        for layer in subject.baseline.modules()
        if isinstance(layer, WEIGHTY)
    ]
    ran = primitives(subject)
    integers = [one for one in ran if one.integer]
    total = sum(eligible)
    share = min(1.0, sum(one.size for one in integers) / total) if total else 0.0
    planned = _planned(subject)
    kernels = Counter(f"{one.kind} {one.implementation}" for one in integers)
    numbers = {
        "layers": len(integers),
        "of": len(eligible),
        "share": share,
        "kernels": dict(kernels),
        "floating": sum(not one.integer for one in ran),
        "planned": planned,
    }
    text = f"{len(integers)} of {len(eligible)} layers in integers, {share:.0%} of weight bytes"
    if not integers:
        return Finding(False, f"not applied: {text}", numbers)
    if planned is not None and len(integers) < planned:
        left = planned - len(integers)
        return Finding(False, f"{text}; {left} quantised layers were not lowered", numbers)
    named = ", ".join(f"{n} {name}" for name, n in kernels.most_common(3))
    return Finding(True, f"{text}; ran {named}", numbers)


def _planned(subject: Subject) -> int | None:
    """How many layers the technique says it quantised: fewer must not have run."""
    planned = description(subject).get("details", {}).get("quantised")
    return int(planned) if planned is not None else None
