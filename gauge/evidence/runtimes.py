"""Which runtime an artifact runs in, and who looks into it."""

from __future__ import annotations

import importlib
from types import ModuleType

from gauge.evidence.base import Finding, Subject, claim, floating

RUNTIMES = {
    "session": "onnx_graph",
    "compiled_model": "openvino_graph",
    "packages": "inductor",
    "program": "executorch_program",
}
"""Attribute of the candidate → module of gauge.evidence with `runtime` and `integer_share`, and
`threads` where the runtime's are its own and can be asked for."""


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
    return pretended(subject) or _with_threads(subject, looks, looks.runtime(subject))


def _with_threads(subject: Subject, looks: ModuleType, finding: Finding) -> Finding:
    """The finding with the threads that the runtime has, where it has its own and tells.

    Not found where they are more than the run's, or another number than the pipeline's name asks
    for (`onnxruntime:2`).
    """
    count = getattr(looks, "threads", lambda _: None)(subject)
    if not (finding.found and subject.stages) or count is None:
        return finding
    most = subject.target.threads
    word = str(subject.stages[-1].get("params", {}).get("threads", "all"))
    numbers = {**finding.numbers, "threads": count}
    text = f"{finding.text}; threads: {count}"
    if word.isdecimal() and count != min(int(word), most):
        return Finding(False, f"{text}, and the name asks for {word}", numbers)
    if not 1 <= count <= most:
        return Finding(False, f"{text}, and the run has {most}", numbers)
    return Finding(True, text, numbers)


def pretended(subject: Subject) -> Finding | None:
    """The finding where a runtime is at hand and eager torch computes; None elsewhere.

    Compiled packages call torch's own kernels, so that nothing can be told of them here.
    """
    if getattr(subject.candidate, "packages", None) is not None:
        return None
    ran = floating(subject.operators)
    if not ran:
        return None
    text = f"a runtime is loaded, but eager torch multiplied by weights {ran} times in a call"
    return Finding(False, text, {"eager": ran})
