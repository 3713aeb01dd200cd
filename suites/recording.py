"""From a run to its records: the run's own line, a line a verdict, and the rendered pages."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gauge.cache import file_digest
from gauge.machine import fingerprint, versions
from gauge.sequential import control
from gauge.verdict import Verdict, deployment_of
from reports.render import render as render_pages
from suites import choices, keys, options
from suites.catalog import ROOT
from suites.matrix import Cell
from suites.options import Settings
from suites.privacy import scrub

if TYPE_CHECKING:
    from suites.run import Run

MEASURED = {"PASS", "FAIL", "INCONCLUSIVE", "WAIVED"}


def command_line(words: Sequence[str | Path]) -> str:
    """The command that started this run, without private paths."""
    return scrub(shlex.join(["pytest", *map(str, words)]))


def new_run_id(started: float) -> str:
    """Sortable by time and unique: `20261125T040000Z-ab12cd`."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started))}-{secrets.token_hex(3)}"


def measured(record: Mapping[str, Any]) -> bool:
    """Whether a record holds a measurement (a refusal, say, does not)."""
    return record["status"] in MEASURED or record.get("value") is not None


def verdict_record(run: Run, cell: Cell, verdict: Verdict, seconds: float) -> dict[str, Any]:
    """One line of records.jsonl; the run's id is added when it is written."""
    record = verdict.record()
    is_one = choices.like(run, cell)
    return scrub(
        {
            "kind": "verdict",
            "schema": 1,
            "run": getattr(run, "run_id", ""),
            "cell": {"model": cell.model, "technique": cell.technique, "target": cell.target},
            "id": cell.id,
            "class": is_one.cls,
            "family": is_one.family,
            "gate": record.pop("gate"),
            "batch": record.pop("batch"),
            **record,
            "seconds": round(seconds, 3),
            "command": cell_command(run, cell, verdict.gate),
        },
        places(run),
    )


def cell_command(run: Run, cell: Cell, gate: str, batches: Sequence[int] | None = None) -> str:
    """The command that repeats a cell, with the options that decide the gate's answer.

    batches: to gate in place of the run's.
    """
    gated = run.settings.gated if batches is None else batches
    settings = run.settings
    suite = deployment_of(gate)
    words = ["pytest", "suites/" if suite is None else f"suites/test_{suite}.py"]
    words += ["--target", cell.target, "--model", cell.model]
    words += ["--technique", cell.technique]
    words += [word for batch in gated if batch != 1 for word in ("--batch", str(batch))]
    words += [f"--plugin={path}" for path in settings.plugins]
    if settings.imagenet:
        words += ["--imagenet", str(settings.imagenet)]
    if settings.policy != ROOT / "policy.toml":
        words += ["--policy", str(settings.policy)]
    if settings.seed:
        words += ["--seed", str(settings.seed)]
    for key, most in keys.budgeted(run.catalog, cell, settings).items():
        words += [options.BUDGETS[key], f"{most:g}"]
    if cell.automatic:
        for key, value in settings.goal.items():
            words += [options.GOALS[key], str(value)]
    if suite in ("realtime", "cloud"):
        words += ["--deadline", f"{1000 * settings.deadline:g}"]
        words += ["--traffic", str(settings.traffic)] if settings.traffic else []
    if settings.cache_mode != "warm":
        words += ["--cache-mode", settings.cache_mode]
    return shlex.join(words)


def places(run: Run) -> dict[Path, str]:
    """Folders whose place on this machine is nobody's business."""
    history = {run.settings.history: "HISTORY"} if run.settings.history else {}
    return {run.settings.cache: "CACHE", **history, Path.cwd(): "."}


def parts(run: Run) -> dict[str, Any]:
    """What one process contributes to the run's line: models and A/A cells."""
    models: dict[str, Any] = {}
    for (kind, *rest), value in run.engine.results():
        if kind != "baseline":
            continue
        model, device = rest
        facts = value.facts
        entry = models.setdefault(
            model,
            {
                "sha256": facts["sha256"],
                "parameters": facts["parameters"],
                "architecture": facts["architecture"],
                "train_seconds": facts["train_seconds"],
                "evaluation": facts["evaluation"],
                "groups": facts["groups"],
                "score": {},
            },
        )
        entry["score"][device] = facts["score"]
    return {
        "run": run.run_id,
        "process": run.process.run,
        "started": run.started,
        "models": models,
        "aa": controls(run),
        "targets": {name: run.engine.probe(name) for name in run.capabilities},
        "artifacts": artifacts(run),
        "selected_cells": len(run.asked_cells),
        "gates": len(run.selected),
        "notices": list(run.engine.notices),
        "waited": run.engine.sections.waited,
        "time_up": run.time_up,
    }


def controls(run: Run) -> list[dict[str, Any]]:
    """The A/A cells of this process so far: their log-ratios, and why one was stopped."""
    timed = [("inference", 1, run.rounds), ("training step", None, run.training.rounds)]
    return [
        {
            "of": what,
            "model": lane.cell.model,
            "target": run.engine.device_of(lane.cell.target),
            "batch": batch,
            "log_ratios": [p["log_ratio"] for p in lane.tracks[1].runs[0]],
            "stopped": str(lane.tracks[1].stopped or lane.tracks[1].invalid or "") or None,
        }
        for what, batch, rounds in timed
        for lane in rounds.lanes.values()
        if lane.control
    ]


def artifacts(run: Run) -> dict[str, dict[str, str]]:
    """Cell -> its artifact's SHA-256 (of its manifest, which holds every file's) and cache key."""
    return {
        rest[0].id: {
            "sha256": file_digest(entry.path / "artifact" / "manifest.json"),
            "key": run.engine.artifact_keys[rest[0]],
        }
        for (kind, *rest), entry in run.engine.results()
        if kind == "artifact"
    }


def interruption(
    exitstatus: int, missing: int, minutes: float | None, time_up: str | None
) -> str | None:
    """Why a run is not complete, or None. minutes, time_up: what --max-minutes said and did."""
    left = f"{missing} gates were not asked"
    if time_up:
        lacks = left if missing else "the A/A cells lack processes"
        return f"--max-minutes {minutes:g} were over: {lacks}; --resume goes on"
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return f"interrupted: {left}"
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        return "an internal error of the suite"
    return f"stopped early: {left}" if missing else None


def circumstances(settings: Settings, contributed: list[dict[str, Any]]) -> dict[str, Any]:
    """What decides whether another run compares with this one: the machine, and what runs on it."""
    probes = [probe for part in contributed for probe in part["targets"].values()]
    devices = (one["settings"] for one in probes if one.get("settings", {}).get("device"))
    machine = {**fingerprint(settings.threads), "gpu": next(devices, None)}
    return scrub({"machine": machine, "versions": versions()})


def run_record(
    run: Run, contributed: list[dict[str, Any]], *, complete: bool, interrupted: str | None
) -> dict[str, Any]:
    """The first line of records.jsonl."""
    settings = run.settings
    now = time.time()
    first = contributed[0] if contributed else {}
    began = min((part["started"] for part in contributed), default=now)
    aa, contaminated, warning = control_results([one for part in contributed for one in part["aa"]])
    models: dict[str, Any] = {}
    for part in contributed:
        models.update(part["models"])
    commit, dirty = _git()
    record = {
        "kind": "run",
        "schema": 1,
        "run": first.get("run") or new_run_id(began),
        "started": _utc(began),
        "finished": _utc(now) if complete else None,
        "complete": complete,
        "interrupted": interrupted,
        "seconds": round(now - began, 1),
        "commit": commit,
        "dirty": dirty,
        "gate": settings.gate,
        "matrix": settings.matrix,
        "effort": settings.effort,
        "seed": settings.seed,
        "targets": sorted({cell.target for cell in run.cells}),
        "options": _options(run),
        "shard": run.selection.shard,
        "command": run.command,
        **circumstances(settings, contributed),
        "policy": settings.policy.name,
        "policy_sha256": hashlib.sha256(settings.policy.read_bytes()).hexdigest(),
        **run.policy_part,
        "models": models,
        "aa": aa,
        "contaminated": contaminated,
        "aa_warning": warning,
        "waited_s": {
            what: round(sum(part["waited"][what] for part in contributed), 1)
            for what in ("timing", "builds")
        },
        "artifacts": {k: v for part in contributed for k, v in part["artifacts"].items()},
        "history": run.compared,
        "selected_cells": max((part["selected_cells"] for part in contributed), default=0),
        "notices": sorted({notice for part in contributed for notice in part["notices"]}),
    }
    return scrub(record, places(run))


def control_results(
    controls: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], bool, str | None]:
    """The A/A cells as the run's record holds them, whether they say contaminated, a warning."""
    if not controls:
        return [], False, None
    # Each worker of pytest-xdist has controls of its own, perhaps of the same model: one cell then.
    merged: dict[str, dict[str, Any]] = {}
    for one in controls:
        kept = merged.setdefault(
            f"{one['of']}-{one['model']}-{one['target']}",
            {**one, "log_ratios": [], "stopped": None},
        )
        kept["log_ratios"] = kept["log_ratios"] + one["log_ratios"]
        kept["stopped"] = kept["stopped"] or one["stopped"]
    judged = control({name: one["log_ratios"] for name, one in merged.items()})
    results = []
    for found in judged.cells:
        facts = dataclasses.asdict(found)
        one = merged[facts.pop("name")]
        about = {key: one[key] for key in ("of", "model", "target", "batch")}
        results.append({**about, **facts, "stopped": one["stopped"]})
    return results, judged.contaminated, judged.warning


def _options(run: Run) -> dict[str, Any]:
    chosen = dataclasses.asdict(run.settings)
    shown = "targets models techniques gated reported cache_mode cell_timeout cell_memory "
    shown += "changed_since max_minutes stage deadline"
    return {
        **{key: chosen[key] for key in shown.split()},
        "plugins": [path.name for path in run.settings.plugins],
        "resume": run.settings.resume,
        "traffic": run.settings.traffic.name if run.settings.traffic else None,
    }


def _utc(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _git() -> tuple[str | None, bool | None]:
    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    changes = ask("status", "--porcelain") if commit else None
    return commit, None if changes is None else bool(changes)


def render(run: Run) -> Path:
    """index.html and summary.md beside the records."""
    return render_pages(run.settings.report, run.settings.report)
