"""Which runtime an artifact runs in, and who looks into it."""

from __future__ import annotations

import importlib
from types import ModuleType

from gauge.evidence.base import Finding, Subject, claim

RUNTIMES = {
    "session": "onnx_graph",
    "compiled_model": "openvino_graph",
    "packages": "inductor",
}
"""Attribute of the candidate → module of gauge.evidence with `runtime` and `integer_share`."""


def inspector(subject: Subject) -> ModuleType | None:
    """The module that looks into this artifact's runtime; None for an eager module."""
    for attribute, name in RUNTIMES.items():
        if getattr(subject.candidate, attribute, None) is not None:
            return importlib.import_module(f"gauge.evidence.{name}")
    return None


@claim("runtime")
def runtime(subject: Subject) -> Finding:
    """A runtime other than eager torch computes, on the device that the target asks for."""
    looks = inspector(subject)
    if looks is None:
        return Finding(False, "the artifact runs in eager torch, in no other runtime")
    finding: Finding = looks.runtime(subject)
    return finding
