"""The small print of a cell: evidence, stages, accuracy, files; each as a title and its lines.

What a gate records as evidence is its own affair, so nothing here relies on its shape: a part that
is not as expected is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reports import auto_chart, formats, names, search_chart
from reports.cells import Cell
from reports.detail_speed import speed_lines
from reports.edge import edge_lines
from reports.plain import listing as _listing
from reports.plain import mapping as _mapping
from reports.plain import number as _number
from reports.records import Record
from reports.serving import cloud_lines, realtime_lines
from reports.training import training_lines

MOST_LAYERS = 8
ALARM = 0.01
"""Below this McNemar's p tells of a drop that the limit allows."""

Detail = tuple[str, list[str]]
_AFTER: dict[str, Callable[[float | None], str]] = {
    "score": formats.PERCENT,
    "bytes": formats.size,
    "speedup": formats.FACTOR,
}


def details(cell: Cell) -> list[Detail]:
    """What the records say about a cell beyond its gates; titles without lines are left out."""
    evidence = _mapping(_mapping(cell.gate("evidence")).get("evidence"))
    found = [
        ("Evidence", _claims(evidence)),
        ("Stages", _stages(evidence)),
        ("Stage by stage", _ablation(cell)),
        ("Layers in int8", _sensitivity(evidence)),
        ("Search", search_chart.lines(cell) or auto_chart.lines(cell)),
        ("Kernels", _kernels(evidence)),
        ("Reload", _reload(cell.gate("reload"))),
        ("Accuracy", _accuracy(cell.gate("accuracy"))),
        ("Fidelity", _numbers(_mapping(_mapping(cell.gate("fidelity")).get("evidence")))),
        ("Speed", speed_lines(cell.verdicts)),
        ("Training", training_lines(cell)),
        ("On a small device", edge_lines(cell)),
        ("Files", _files(cell.gate("size"))),
        ("Real time", realtime_lines(cell)),
        ("Cloud", cloud_lines(cell)),
    ]
    return [(title, [names.short(line) for line in lines]) for title, lines in found if lines]


def _claims(evidence: dict[str, Any]) -> list[str]:
    lines = []
    for claim, finding in _mapping(evidence.get("claims")).items():
        finding = _mapping(finding)
        state = "found" if finding.get("found") else "not found"
        text = finding.get("text")
        lines.append(f"{claim} {state}" + (f": {text}" if text else ""))
    return lines


def _stages(evidence: dict[str, Any]) -> list[str]:
    parts = []
    for stage in map(_mapping, _listing(evidence.get("stages"))):
        parts.append(f"{stage.get('technique')} {formats.seconds(_number(stage.get('seconds')))}")
    lines = [" → ".join(parts)] if parts else []
    opened = [_number(evidence.get(name)) for name in ("open_seconds", "first_answer_seconds")]
    if None not in opened:
        both = [formats.seconds(one) for one in opened]
        lines.append(f"opens in {both[0]}, first answer after another {both[1]}")
    return lines


def _ablation(cell: Cell) -> list[str]:
    """What each stage of a pipeline adds: score, bytes and speedup after it."""
    lines = []
    for gate in ("accuracy", "size", "speed"):
        found = _mapping(_mapping(_mapping(cell.gate(gate)).get("evidence")).get("ablation"))
        shown = _AFTER.get(found.get("what", ""))
        entries = [_mapping(entry) for entry in _listing(found.get("stages"))]
        if shown is None or not entries:
            continue
        parts = [f"FP32 {shown(_number(found.get('start')))}"]
        parts += [f"{one.get('technique')} {shown(_number(one.get('value')))}" for one in entries]
        lines.append(f"{found['what']}: " + " → ".join(parts))
        lines += [
            f"{one.get('technique')} by itself: {one['reason']}"
            for one in entries
            if one.get("reason")
        ]
    return lines


def _sensitivity(evidence: dict[str, Any]) -> list[str]:
    """The layers that do most damage: signal to noise at the output with one of them in int8."""
    lines = []
    for stage in map(_mapping, _listing(evidence.get("stages"))):
        notes = _mapping(stage.get("notes"))
        lines += _noise(stage)
        told = _mapping(notes.get("sensitivity"))
        levels = [
            (level, name) for name, one in told.items() if (level := _number(one)) is not None
        ]
        if not levels:
            continue
        worst = ", ".join(f"{name} {level:.1f} dB" for level, name in sorted(levels)[:MOST_LAYERS])
        lines.append(f"worst of {len(levels)}, each alone in int8: {worst}")
        if kept := _listing(notes.get("kept")):
            lines.append(f"left in FP32: {len(kept)}")
        whole = _mapping(notes.get("sqnr"))
        both = [_number(whole.get(name)) for name in ("all_int8", "kept")]
        if None not in both:
            lines.append(f"all in int8 {both[0]:.1f} dB, as it is {both[1]:.1f} dB")
    return lines


def _noise(stage: dict[str, Any]) -> list[str]:
    """The layers that add most noise to a stage's result: dB before and after each."""
    told = []
    for name, both in _mapping(_mapping(stage.get("notes")).get("noise")).items():
        levels = [_number(one) for one in _listing(both)]
        if len(levels) == 2 and None not in levels:
            told.append(f"{name} ({levels[0]:.1f} dB before it, {levels[1]:.1f} dB after it)")
    if not told:
        return []
    return [f"{stage.get('technique')} adds most noise in: {', '.join(told[:MOST_LAYERS])}"]


def _kernels(evidence: dict[str, Any]) -> list[str]:
    kernels = [str(kernel) for kernel in _listing(evidence.get("kernels"))]
    more = f" and {len(kernels) - 12} more" if len(kernels) > 12 else ""
    return [", ".join(kernels[:12]) + more] if kernels else []


def _reload(verdict: Record | None) -> list[str]:
    evidence = _mapping(_mapping(verdict).get("evidence"))
    batches = _mapping(evidence.get("batches"))
    parts = [f"batch {size}: {formats.RELATIVE(_number(value))}" for size, value in batches.items()]
    lines = ["largest difference over the largest output; " + ", ".join(parts)] if parts else []
    errors = _mapping(evidence.get("errors"))
    lines += [f"batch {size} fails: {error}" for size, error in errors.items()]
    if evidence.get("batch") is not None:
        lines.append(f"takes batches of {evidence['batch']} only")
    return lines


def _accuracy(verdict: Record | None) -> list[str]:
    verdict = _mapping(verdict)
    baseline, candidate = _mapping(verdict.get("baseline")), _mapping(verdict.get("candidate"))
    evidence = _mapping(verdict.get("evidence"))
    if not (baseline or candidate or evidence):
        return []
    lines = [_scores(baseline, candidate, evidence)]
    before, after = _number(evidence.get("b")), _number(evidence.get("c"))
    if before is not None and after is not None:
        lines.append(f"{before:g} right only before, {after:g} right only after")
    if (chance := _number(evidence.get("mcnemar_p"))) is not None and chance < ALARM:
        lines.append(
            f"more samples lost than chance would lose (McNemar's exact p = {chance:.2g}): "
            "a drop, though it may be under the limit"
        )
    if (flips := _number(evidence.get("flip_rate"))) is not None:
        lines.append(f"answers that changed: {formats.PERCENT(flips)}")
    lines += _worst_class(_mapping(evidence.get("worst_class")))
    lines += _alone(_mapping(evidence.get("batch_invariance")))
    lines += _subnormals(_mapping(evidence.get("subnormal_weights")))
    if error := _mapping(evidence.get("calibration_error")):
        both = [formats.COSINE(_number(error.get(arm))) for arm in ("baseline", "candidate")]
        lines.append(f"calibration error: {both[0]} → {both[1]}")
    if (least := _number(evidence.get("smallest_drop"))) is not None:
        lines.append(f"smallest limit that these samples decide: {formats.POINTS(least)}")
    if evidence.get("method"):
        lines.append(f"interval: {evidence['method']}")
    return lines


def _worst_class(worst: Record) -> list[str]:
    if (drop := _number(worst.get("drop"))) is None:
        return []
    line = f"worst class: {worst.get('label')}, drop {formats.POINTS(drop)}"
    if (n := _number(worst.get("n"))) is not None:
        line += f" on {formats.count(int(n), 'sample')}"
    low, high = _number(worst.get("low")), _number(worst.get("high"))
    if low is not None and high is not None:
        line += f" [{formats.POINTS.bare(low, 2)}, {formats.POINTS.bare(high, 2)}]"
        line += ", the interval for all classes at once"
    return [line + (f" ({worst['note']})" if worst.get("note") else "")]


def _alone(found: Record) -> list[str]:
    """Whether a sample's answer depends on the others of its batch."""
    if found.get("agrees") is None:
        return [f"samples alone not compared: {found['note']}"] if found.get("note") else []
    difference, samples = _number(found.get("difference")), found.get("samples")
    apart = "NaN in one" if difference is None else f"differs by {formats.RELATIVE(difference)}"
    line = f"a sample alone instead of in a batch of {found.get('batch')}: {apart}"
    if found["agrees"]:
        return [f"{line}, as rounding does"]
    changed = _number(found.get("changed"))
    scored = "" if not changed else f", and {changed:g} of {samples} score differently"
    return [f"ANSWERS DEPEND ON THE BATCH: {line}{scored}"]


def _subnormals(found: Record) -> list[str]:
    if (count := _number(found.get("count"))) is None:
        return [f"subnormal weights not counted: {found['note']}"] if found.get("note") else []
    share = formats.PERCENT(_number(found.get("share")))
    slow = " (x86 computes with them in microcode, slowly)" if count else ""
    return [f"subnormal weights: {int(count):,} of {found.get('of')}, {share}{slow}"]


def _scores(baseline: Record, candidate: Record, evidence: Record) -> str:
    scores = [formats.PERCENT(arm.get("score")) for arm in (baseline, candidate)]
    number = candidate.get("n") if candidate.get("n") is not None else baseline.get("n")
    on = "" if number is None else f" on {formats.count(number, 'sample')}"
    groups = _number(evidence.get("groups"))
    by = "" if groups is None else f" in {groups:g} groups"
    return f"score {scores[0]} → {scores[1]}{on}{by}"


def _numbers(evidence: dict[str, Any]) -> list[str]:
    """Plain numbers under their own names: what a gate records beside its value."""
    parts = [
        f"{name.replace('_', ' ')} {number:.4g}"
        for name, value in evidence.items()
        if (number := _number(value)) is not None
    ]
    return [", ".join(parts)] if parts else []


def _files(verdict: Record | None) -> list[str]:
    candidate = _mapping(_mapping(verdict).get("candidate"))
    files = sorted(_mapping(candidate.get("files")).items(), key=lambda item: -(item[1] or 0))
    parts = [f"{names.short(name, 80)} {formats.size(size)}" for name, size in files[:8]]
    if len(files) > 8:
        parts.append(f"{len(files) - 8} more")
    lines = [", ".join(parts)] if parts else []
    if candidate.get("sparsity") is not None:
        share = formats.WHOLE_PERCENT(candidate["sparsity"])
        lines.append(f"{share} of the weights are zero (a number of its own, no saving)")
    return lines
