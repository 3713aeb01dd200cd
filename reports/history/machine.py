"""Which runs may be compared: the machine class, and what else differs between two runs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from reports.plain import mapping
from reports.records import Record

DECIDING = ("cpu", "flags", "cores", "quota", "threads")
"""Fields of a run's machine that make another class: what sets how two kernels compare."""

GPU_DECIDING = ("device", "capability", "multiprocessors")
"""A slice of a divided GPU differs from the whole one in its name and its multiprocessors."""

SOFTWARE = ("kernel", "python", "os", "image", "driver")
GPU_SOFTWARE = ("cuda", "cudnn")
"""Fields whose change is a step of its own in a trend, beside the versions of packages."""


def deciding(run: Record) -> dict[str, Any]:
    """The fields of a run's record that make its machine class."""
    machine = mapping(run.get("machine"))
    gpu = mapping(machine.get("gpu"))
    found = {name: machine.get(name) for name in DECIDING}
    return {**found, **{f"gpu {name}": gpu.get(name) for name in GPU_DECIDING if gpu}}


def class_of(run: Record) -> str:
    """The machine class of a run: twelve hex digits, equal for machines that compare."""
    text = json.dumps(deciding(run), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def software(run: Record) -> dict[str, Any]:
    """What ran on the machine: package versions, kernel, driver, image; None where not known."""
    machine = mapping(run.get("machine"))
    gpu = mapping(machine.get("gpu"))
    found = {name: machine.get(name) for name in SOFTWARE}
    found |= {name: gpu.get(name) for name in GPU_SOFTWARE if gpu}
    return {**found, **mapping(run.get("versions"))}


def differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`threads: 1, then 2` for each field that differs."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name}: {_change(old.get(name), new.get(name))}" for name in names]


def _change(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        lost = [str(one) for one in old if one not in new]
        gained = [str(one) for one in new if one not in old]
        parts = [f"without {' '.join(lost)}"] if lost else []
        return ", ".join([*parts, *([f"with {' '.join(gained)}"] if gained else [])])
    return f"{_word(old)}, then {_word(new)}"


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
