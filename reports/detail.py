"""The small print of a cell: evidence, stages, accuracy, files; each as a title and its lines."""

from __future__ import annotations

from typing import Any

from reports import formats, names
from reports.cells import Cell
from reports.records import Record

Detail = tuple[str, list[str]]


def details(cell: Cell) -> list[Detail]:
    """What the records say about a cell beyond its gates; titles without lines are left out."""
    evidence = _part(cell.gate("evidence"), "evidence")
    found = [
        ("Evidence", _claims(evidence)),
        ("Stages", _stages(evidence)),
        ("Kernels", _kernels(evidence)),
        ("Accuracy", _accuracy(cell.gate("accuracy"))),
        ("Reload", _reload(_part(cell.gate("reload"), "evidence"))),
        ("Speed", _speed(cell.verdicts)),
        ("Files", _files(cell.gate("size"))),
    ]
    return [(title, lines) for title, lines in found if lines]


def _part(verdict: Record | None, name: str) -> dict[str, Any]:
    return (verdict or {}).get(name) or {}


def _claims(evidence: dict[str, Any]) -> list[str]:
    lines = []
    for claim, found in (evidence.get("claims") or {}).items():
        state = {True: "found", False: "not found"}.get(found.get("found"), "not known")
        text = found.get("text")
        lines.append(f"{claim} {state}" + (f": {text}" if text else ""))
    return [names.short(line) for line in lines]


def _stages(evidence: dict[str, Any]) -> list[str]:
    stages = evidence.get("stages") or []
    parts = [f"{stage['technique']} {formats.seconds(stage.get('seconds'))}" for stage in stages]
    if not parts:
        return []
    cached = (
        " (times of the run that made it: taken from the cache)" if evidence.get("cached") else ""
    )
    return [" → ".join(parts) + cached]


def _kernels(evidence: dict[str, Any]) -> list[str]:
    kernels = [str(kernel) for kernel in evidence.get("kernels") or []]
    more = f" and {len(kernels) - 12} more" if len(kernels) > 12 else ""
    return [names.short(", ".join(kernels[:12])) + more] if kernels else []


def _accuracy(verdict: Record | None) -> list[str]:
    baseline, candidate = _part(verdict, "baseline"), _part(verdict, "candidate")
    evidence = _part(verdict, "evidence")
    if not (baseline or candidate or evidence):
        return []
    lines = [_scores(baseline, candidate, evidence)]
    if evidence.get("b") is not None and evidence.get("c") is not None:
        lines.append(f"{evidence['b']:g} right only before, {evidence['c']:g} right only after")
    if evidence.get("flip_rate") is not None:
        lines.append(f"answers that changed: {formats.PERCENT(evidence['flip_rate'])}")
    worst = evidence.get("worst_class") or {}
    if worst.get("drop") is not None:
        lines.append(f"worst class: {worst.get('label')}, drop {formats.POINTS(worst['drop'])}")
    error = evidence.get("calibration_error") or {}
    if error:
        both = [formats.COSINE(error.get(arm)) for arm in ("baseline", "candidate")]
        lines.append(f"calibration error: {both[0]} → {both[1]}")
    if evidence.get("smallest_drop") is not None:
        least = formats.POINTS(evidence["smallest_drop"])
        lines.append(f"least drop these samples can tell from none: {least}")
    if evidence.get("method"):
        lines.append(f"interval: {evidence['method']}")
    return [names.short(line) for line in lines]


def _scores(baseline: Record, candidate: Record, evidence: Record) -> str:
    scores = [formats.PERCENT(arm.get("score")) for arm in (baseline, candidate)]
    number = candidate.get("n") if candidate.get("n") is not None else baseline.get("n")
    on = "" if number is None else f" on {formats.count(number, 'sample')}"
    groups = evidence.get("groups")
    by = "" if groups is None else f" in {groups:g} groups"
    return f"score {scores[0]} → {scores[1]}{on}{by}"


def _reload(evidence: dict[str, Any]) -> list[str]:
    batches = evidence.get("batches") or {}
    parts = [f"batch {batch}: {formats.RELATIVE(value)}" for batch, value in batches.items()]
    lines = ["largest difference over the largest output; " + ", ".join(parts)] if parts else []
    if evidence.get("batch") is not None:
        lines.append(f"takes batches of {evidence['batch']} only")
    return [names.short(line) for line in lines]


def _speed(verdicts: list[Record]) -> list[str]:
    lines = []
    for verdict in verdicts:
        evidence = _part(verdict, "evidence")
        if verdict["gate"] != "speed" or not evidence.get("processes"):
            continue
        parts = [formats.count(len(evidence["processes"]), "process", "processes")]
        if evidence.get("sigma") is not None:
            parts.append(f"SD between them {formats.PERCENT(evidence['sigma'])}")
        if evidence.get("steady") is False:
            parts.append("never became steady")
        if evidence.get("threads") is not None:
            parts.append(formats.count(evidence["threads"], "thread"))
        lines.append(f"batch {verdict.get('batch')}: " + ", ".join(parts))
    return lines


def _files(verdict: Record | None) -> list[str]:
    candidate = _part(verdict, "candidate")
    files = sorted((candidate.get("files") or {}).items(), key=lambda item: -(item[1] or 0))
    parts = [f"{names.short(name, 80)} {formats.size(size)}" for name, size in files[:8]]
    if len(files) > 8:
        parts.append(f"{len(files) - 8} more")
    lines = [", ".join(parts)] if parts else []
    if candidate.get("sparsity") is not None:
        share = formats.WHOLE_PERCENT(candidate["sparsity"])
        lines.append(f"{share} of the weights are zero (a number of its own, no saving)")
    return lines
