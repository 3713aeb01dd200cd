"""What evidence is counted in, the findings, and the registry of claims."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gauge.outputs import Batch, fresh, map_tensors
from gauge.targets import Target

FLOATING = ("aten::addmm", "aten::mm", "aten::convolution", "aten::lstm", "aten::gru")
"""Operators by which eager torch multiplies by a layer's weights in floating point."""

WEIGHTY = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Layers that hold weights worth optimising: what techniques are counted against."""


@dataclass
class Subject:
    """A reloaded artifact and what it is compared with.

    candidate: called like the model; has attributes `module` (eager) or `session` and `path`
    (onnxruntime). baseline: the FP32 module on the same device. batch: arguments of one call, cast
    for the target. directory: the artifact's files. stages: records {technique, params,
    notes} of what made it. start: what the last of them began with, in FP32; None where that is the
    baseline.
    """

    candidate: Any
    baseline: nn.Module
    batch: Batch
    directory: Path
    target: Target
    baseline_batch: Batch | None = None
    stages: Sequence[Mapping[str, Any]] = ()
    start: nn.Module | None = None

    @property
    def module(self) -> nn.Module | None:
        return getattr(self.candidate, "module", None)

    def run(self) -> Any:
        """Call the candidate once with fresh inputs."""
        args, kwargs = fresh(self.batch)
        with torch.inference_mode():
            return self.candidate(*args, **kwargs)

    @cached_property
    def operators(self) -> dict[str, int]:
        """How often each operator ran in one profiled call, by name."""
        return self._profiled(self.run)

    @cached_property
    def baseline_operators(self) -> dict[str, int]:
        """The same of a call of the baseline."""

        def run() -> None:
            args, kwargs = map_tensors(fresh(self.baseline_batch or self.batch), plain_floats)
            with torch.inference_mode():
                self.baseline(*args, **kwargs)

        return self._profiled(run)

    def _profiled(self, run: Callable[[], Any]) -> dict[str, int]:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.target.device == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        run()
        with torch.profiler.profile(activities=activities) as profile:
            run()
        return {event.key: event.count for event in profile.key_averages()}


@dataclass(frozen=True)
class Finding:
    """Whether a claim was found, one sentence with the counts, and the counts."""

    found: bool
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


Check = Callable[[Subject], Finding]
_claims: dict[str, Check] = {}


def claim(name: str) -> Callable[[Check], Check]:
    """Decorator: makes a function the check of a claim."""

    def add(check: Check) -> Check:
        if name in _claims:
            raise ValueError(f"claim {name!r} is checked twice: {_claims[name].__module__}")
        _claims[name] = check
        return check

    return add


def _load_all() -> None:
    import gauge.evidence

    for module in pkgutil.iter_modules(gauge.evidence.__path__):
        importlib.import_module(f"gauge.evidence.{module.name}")


def known() -> list[str]:
    """The claims that gauge can check, sorted."""
    _load_all()
    return sorted(_claims)


def count(claims: Iterable[str], subject: Subject) -> dict[str, dict[str, Any]]:
    """Check each claim; {"found", "text", "numbers"} by claim.

    A claim that gauge does not know counts as not found. An exception inside a check is the
    caller's to report: it is a fault of gauge or of the artifact, not an absent claim.
    """
    _load_all()
    findings = {}
    for name in claims:
        check = _claims.get(name)
        if check is None:
            text = f"gauge knows no claim {name!r}; it knows {', '.join(sorted(_claims))}"
            finding = Finding(False, text)
        else:
            finding = check(subject)
        findings[name] = {
            "found": finding.found,
            "text": finding.text,
            "numbers": finding.numbers,
        }
    return findings


def floating(operators: Mapping[str, int]) -> int:
    """How often eager torch multiplied by weights in floating point."""
    return sum(operators.get(name, 0) for name in FLOATING)


def plain_floats(value: torch.Tensor) -> torch.Tensor:
    """FP32 in place of the target's format: the baseline is in FP32 whatever that is."""
    return value.float() if value.is_floating_point() else value


def description(subject: Subject) -> dict[str, Any]:
    """What the artifact says of itself (`artifact.json`); empty where it says nothing."""
    path = subject.directory / "artifact.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def noted(subject: Subject, *names: str) -> dict[str, Any] | None:
    """{"params", "notes", "first", "last"} of the first stage with these notes, or None.

    From the artifact's own description. first, last: whether no stage came before, or after.
    """
    stages = description(subject).get("stages", [])
    for index, stage in enumerate(stages):
        notes = stage.get("notes", {})
        if all(name in notes for name in names):
            last = index == len(stages) - 1
            params = stage.get("params", {})
            return {"params": params, "notes": notes, "first": index == 0, "last": last}
    return None


def no_module(what: str) -> Finding:
    """The finding where a claim is about modules and the artifact is none.

    opaque: what an earlier stage of a pipeline did may still be counted in what that stage saved.
    """
    text = f"the artifact is no torch module, so {what} cannot be seen in it"
    return Finding(False, text, {"opaque": True})


def packed(module: nn.Module, what: str) -> Finding | None:
    """The finding where integer layers, which pack their weights, hide `what`; None elsewhere."""
    if any(".quantized" in type(layer).__module__ for layer in module.modules()):
        return Finding(False, f"integer layers pack {what}", {"opaque": True})
    return None
