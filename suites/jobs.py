"""The work of one stage, run in a worker: plain data in, plain data out."""

from __future__ import annotations

import functools
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import optimizers
import zoo
from gauge import (
    affinity,
    evidence,
    fidelity,
    invariance,
    outputs,
    recompiles,
    shortcuts,
    subnormals,
    targets,
    timing,
)
from gauge import memory as peak
from gauge.baseline_checks import BaselineProblem, find_problems
from gauge.cache import file_digest
from gauge.opened import Opened
from optimizers import artifact, pipeline
from optimizers.eager import EagerModule
from suites import adopting, judges, reopened, stopwatch
from suites import world as shared
from suites.confirming import confirm as confirm
from suites.edge_jobs import edge_count as edge_count
from suites.edge_jobs import edge_machine as edge_machine
from suites.edge_jobs import edge_start as edge_start
from suites.serving_jobs import serving_answers as serving_answers
from suites.serving_jobs import serving_cloud as serving_cloud
from suites.serving_jobs import serving_cold as serving_cold
from suites.serving_jobs import serving_confirm as serving_confirm
from suites.serving_jobs import serving_fleet as serving_fleet
from suites.serving_jobs import serving_overhead as serving_overhead
from suites.serving_jobs import serving_realtime as serving_realtime
from suites.training_jobs import training_consider as training_consider
from suites.training_jobs import training_memory as training_memory
from suites.training_jobs import training_run as training_run
from suites.training_jobs import training_speed as training_speed
from suites.world import World, load_plugin


def probe(arguments: dict[str, Any]) -> dict[str, Any]:
    """Whether a target can be used, what it can do, and the settings it fixes."""
    world = World(arguments)
    target = targets.get(arguments["target"])
    target.threads = world.threads
    missing = target.missing()
    if missing:
        return {"missing": missing}
    return {
        "missing": None,
        "capabilities": target.capabilities(),
        "settings": target.prepare(),
        "unit": target.unit(),
    }


def plugins(arguments: dict[str, Any]) -> dict[str, Any]:
    """Import the plug-ins; what they registered, or where the first failing one failed."""
    for path in arguments["plugins"]:
        try:
            load_plugin(Path(path))
        except BaseException as error:  # noqa: BLE001 - told to the user with its line
            return {"problem": _plugin_problem(Path(path), error)}
    return {
        "problem": None,
        "models": zoo.names(),
        "techniques": optimizers.names(),
        "targets": targets.names(),
    }


def _plugin_problem(path: Path, error: BaseException) -> str:
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path}:{line}: the plug-in does not import: {type(error).__name__}: {error}"


def prepare(arguments: dict[str, Any]) -> dict[str, Any]:
    """Train or load a model's FP32 weights and save them."""
    world = World(arguments)
    torch.manual_seed(world.seed)
    module = world.model.build()
    began = time.perf_counter()
    origin = "built"
    if hasattr(world.model, "train"):
        world.model.train(module, world.seed)
        origin = "trained"
    elif hasattr(world.model, "load"):
        world.model.load(module)
        origin = "pretrained"
    seconds = time.perf_counter() - began
    module.eval()
    optimized = EagerModule(module, world.model.full_name)
    optimized.place(targets.get("cpu"))
    folder = Path(arguments["directory"]) / shared.ARTIFACT
    folder.mkdir()
    artifact.save(optimized, folder)
    return {
        "sha256": shared.weights_hash(module),
        "files": artifact.sizes(folder),
        "origin": origin,
        "train_seconds": round(seconds, 3) if origin == "trained" else None,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "architecture": type(module).__name__,
    }


def baseline(arguments: dict[str, Any]) -> dict[str, Any]:
    """Check the FP32 baseline on its device, run the evaluation split, keep its outputs."""
    world = World(arguments)
    module = world.baseline()
    problems = find_problems(module, world.target.cast(world.model.example(shared.CHECKED_BATCH)))
    if problems:
        raise BaselineProblem("; ".join(problems))
    split = world.model.split("evaluation")
    joined = shared.evaluate(module, split, world.target)
    bad, total = outputs.nonfinite(joined)
    if bad:
        raise RuntimeError(f"the baseline's outputs are not finite: {bad} of {total}")
    scores = shared.score(world.model, joined, split, joined)
    shared.write_npz(Path(arguments["outputs"]), shared.arrays(joined))
    kept = {batch: world.model.example(batch) for batch in arguments["example_batches"]}
    # Whole or not there: another worker of pytest-xdist may read or write the same.
    examples = Path(arguments["examples"])
    temporary = examples.with_name(f".{examples.name}.{os.getpid()}")
    torch.save(kept, temporary)
    os.replace(temporary, examples)
    return {
        "score": float(scores.mean()),
        "evaluation": len(split),
        "groups": len(set(map(int, split.groups))) if split.groups is not None else None,
    }


def consider(arguments: dict[str, Any]) -> dict[str, Any]:
    """Whether a stage refuses the cell here and now, and the files that its artifact depends on.

    Asked in every run: a cached artifact must not hide that a package or a file is gone.
    """
    world = World(arguments)
    reason = pipeline.refuses(
        [(name, {}) for name in arguments["techniques"]], world.model, world.target
    )
    if reason:
        raise optimizers.Refused(reason)
    read = [
        path for name in arguments["techniques"] for path in optimizers.get(name).files(world.model)
    ]
    return {"files": [file_digest(path) for path in read]}


def apply(arguments: dict[str, Any]) -> dict[str, Any]:
    """Optimise a fresh copy of the baseline and save the artifact."""
    world = World(arguments)
    stages = [(name, params) for name, params in arguments["stages"]]
    workdir = Path(arguments["workdir"])
    context = optimizers.Context(
        model=world.model,
        target=world.target,
        params={},
        seed=world.seed,
        workdir=workdir,
        budget=arguments["budget"],
        kept=Path(arguments["kept"]),
    )
    directory = Path(arguments["directory"])
    found: dict[str, Any] = {}

    def keep(before: EagerModule, reports: list[dict[str, Any]]) -> None:
        (directory / adopting.FOLDER).mkdir()
        found.update(_saved(world, before, reports, directory / adopting.FOLDER))

    if arguments["goal"]:
        context.automatic = judges.automatic(world, arguments["goal"], keep)
    torch.manual_seed(world.seed)
    before = arguments["before"]
    module = _continued(world, before) if before else world.fp32()
    with shared.held_out(world.model):
        optimized, reports = pipeline.apply(stages[len(before) :], module, context, before)
    return {**_saved(world, optimized, reports, directory), adopting.FOLDER: found or None}


def _saved(
    world: World, optimized: optimizers.Optimized, reports: list[dict[str, Any]], directory: Path
) -> dict[str, Any]:
    """Save an artifact with its outputs, and what its cache entry says of it."""
    # Before saving: what is measured in memory must be what the artifact was before it was saved.
    shared.write_npz(directory / "in_memory.npz", _in_memory(world, optimized))
    (directory / shared.ARTIFACT).mkdir()
    artifact.save(optimized, directory / shared.ARTIFACT)
    return {
        "weights": world.arguments["sha256"],
        "stages": reports,
        # An automatic technique's own records are followed by those of what it chose.
        "claims": pipeline.claims(
            [(one["technique"], one["params"]) for one in reports], world.target
        ),
        "batch": optimized.batch,
        "tolerance": optimized.tolerance,
        "tolerance_reason": optimized.tolerance_reason,
        "files": artifact.sizes(directory / shared.ARTIFACT),
    }


def _start(world: World) -> optimizers.Optimized:
    """What the earlier stages of a pipeline left: their own saved artifact."""
    return artifact.load(Path(world.arguments["start"]) / shared.ARTIFACT, world.baseline_target)


def _continued(world: World, before: list[dict[str, Any]]) -> torch.nn.Module:
    """The module that a pipeline's last stage goes on with."""
    started = _start(world)
    if not isinstance(started, EagerModule):
        raise optimizers.Refused(
            f"{world.arguments['stages'][len(before)][0]} needs an eager module, and "
            f"{before[-1]['technique']} leaves none: it can only be the last stage"
        )
    torch.manual_seed(world.seed)
    return started.module.to("cpu")


def _in_memory(world: World, optimized: optimizers.Optimized) -> dict[str, np.ndarray]:
    """Outputs for each batch size, under `size/path`; a size that fails is left out.

    The reload gate meets that failure again and tells it. Raises when every size fails.
    """
    found: dict[str, np.ndarray] = {}
    failure: Exception | None = None
    for batch in world.arguments["batches"]:
        if optimized.batch not in (None, batch):
            continue
        try:
            result = shared.arrays(shared.run_example(world, optimized, batch))
        except Exception as error:  # noqa: BLE001 - see above
            failure = error
            continue
        found |= {f"{batch}/{path}": array for path, array in result.items()}
    if not found and failure is not None:
        raise failure
    return found


def examine(arguments: dict[str, Any]) -> dict[str, Any]:
    """Reload the artifact in this fresh process and ask everything that is not a time of it.

    Each part that raises is told as that part's error, so that one does not hide the others.
    """
    world = World(arguments)
    files = Opened([Path(arguments["artifact"]), *world.own_folders()])
    with files:
        began = time.perf_counter()
        candidate = shared.load_candidate(world)
        opened = time.perf_counter() - began
        start = _part(lambda: _started(world, candidate, opened))
    return {
        "start": start,
        "reload": _part(lambda: reopened.compare(world, candidate, files)),
        "evidence": _part(lambda: _evidence(world, candidate)),
        **_split(_part(lambda: _evaluated(world, candidate))),
    }


def _started(world: World, candidate: Any, opened: float) -> dict[str, Any]:
    """Seconds to open the artifact and to its first answer: a compiled one may compile in either.

    Never part of a latency; told by themselves.
    """
    batch = candidate.batch or 1
    began = time.perf_counter()
    shared.run_example(world, candidate, batch)
    return {"open_seconds": opened, "first_answer_seconds": time.perf_counter() - began}


def _part(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return shared.finite(measure())
    except Exception as error:  # noqa: BLE001 - becomes the ERROR verdict of this part's gates
        traceback.print_exc()
        text = str(error).strip()
        first = text.splitlines()[0] if text else ""
        return {"error": f"{type(error).__name__}: {first}".rstrip(": ")}


def _split(evaluated: dict[str, Any]) -> dict[str, Any]:
    if "error" in evaluated:
        return {"accuracy": evaluated, "fidelity": evaluated}
    return evaluated


def _evidence(world: World, candidate: Any) -> dict[str, Any]:
    subject = evidence.Subject(
        candidate=candidate,
        baseline=world.baseline(),
        batch=world.target.cast(world.example(candidate.batch or shared.CHECKED_BATCH)),
        directory=Path(world.arguments["artifact"]) / shared.ARTIFACT,
        target=world.target,
        stages=world.arguments["stages"],
        start=None if world.arguments["start"] is None else _start(world).module,
    )
    return {"claims": evidence.count(tuple(world.arguments["claims"]), subject)}


def _evaluated(world: World, candidate: Any) -> dict[str, Any]:
    """Per-sample scores of both sides, and how alike the outputs are."""
    split = world.model.split("evaluation")
    joined = shared.evaluate(candidate, split, world.target, candidate.batch)
    with np.load(world.arguments["baseline_outputs"]) as stored:
        kept = {path: torch.from_numpy(stored[path]) for path in stored}
    problem = outputs.form_problem(kept, outputs.flatten(joined))
    if problem:
        raise ValueError(f"the answers are not of the baseline's form: {problem}")
    reference = outputs.fill(joined, kept)
    bad, total = outputs.nonfinite(joined)
    layer = None
    if bad and candidate.module is not None:
        batch = world.target.cast(world.model.example(shared.CHECKED_BATCH))
        layer = outputs.first_nonfinite_layer(candidate.module, batch)
    nonfinite = {"count": bad, "of": total, "layer": layer}
    before = shared.score(world.model, reference, split, reference)
    after = shared.score(world.model, joined, split, reference)
    groups = None if split.groups is None else [int(one) for one in split.groups]
    content = {"baseline": before.astype("float32"), "candidate": after.astype("float32")}
    if groups is not None:
        content["groups"] = np.asarray(groups)
    shared.write_npz(Path(world.arguments["samples"]), content)
    labels = None if split.labels is None else split.labels.numpy()
    alike = fidelity.compare(shared.arrays(reference), shared.arrays(joined), labels)
    directory = Path(world.arguments["artifact"]) / shared.ARTIFACT
    return {
        "accuracy": {
            "baseline": before.tolist(),
            "candidate": after.tolist(),
            "groups": groups,
            "labels": None if labels is None else labels.tolist(),
            "nonfinite": nonfinite,
            "extra": {
                **alike["extra"],
                "batch_invariance": _part(
                    lambda: _alone(world, candidate, split, joined, after, reference)
                ),
                "subnormal_weights": _part(lambda: subnormals.count(candidate.module, directory)),
            },
        },
        "fidelity": {**alike, "nonfinite": nonfinite},
    }


def _alone(
    world: World, candidate: Any, split: zoo.Split, joined: Any, after: np.ndarray, reference: Any
) -> dict[str, Any]:
    """Samples run alone against the same in the batches of the evaluation; see gauge.invariance."""
    if candidate.batch is not None:
        return {"note": f"takes batches of {candidate.batch} only"}
    note = invariance.unfit(joined, len(split))
    if note:
        return {"note": note}
    picked = invariance.rows(len(split))
    single = [shared.answer(candidate, split, world.target, row) for row in picked]
    mixed = invariance.replaced(joined, single, picked)
    again = shared.score(world.model, mixed, split, reference)
    # Of scores that are not right or wrong every rounding changes some.
    binary = np.isin(after, (0, 1)).all() and np.isin(again, (0, 1)).all()
    return {
        "samples": len(picked),
        "batch": min(shared.EVALUATION_BATCH, len(split)),
        "difference": invariance.difference(joined, mixed, picked),
        "changed": int((after != again).sum()) if binary else None,
    }


def speed(arguments: dict[str, Any]) -> dict[str, Any]:
    """Baseline and candidate in turns in this process; one log-ratio a batch size."""
    cpus = affinity.allowed()
    world = World(arguments)
    _ = world.target, world.baseline_target  # their own settings come first
    before = shortcuts.settings()
    alone: dict[int, shortcuts.Pace] = {}
    # Which arm is loaded first decides where its weights lie in memory (gauge.order).
    if arguments["candidate_first"]:
        candidate, base = shared.load_candidate(world), world.baseline()
    else:
        base = world.baseline()
        # Of the first two processes exactly one loads the baseline first.
        if arguments["number"] < 2:
            alone = {one: stopwatch.pace(world, base, one) for one in arguments["batches"][:1]}
        candidate = shared.load_candidate(world)
    # After loading: what a runtime has bound on the way holds for neither arm.
    affinity.pin(cpus)
    measured: dict[str, dict[str, Any]] = {}
    for batch in arguments["batches"]:
        if getattr(candidate, "batch", None) not in (None, batch):
            measured[str(batch)] = {"refused": f"the artifact accepts batch {candidate.batch} only"}
            continue
        example = world.example(batch)
        control = arguments["artifact"] is None
        measured[str(batch)] = timing.measure_pair(
            base,
            candidate,
            world.target,
            world.baseline_target.cast(example),
            (world.baseline_target if control else world.target).cast(example),
            **arguments["lengths"][str(batch)],
            candidate_first=arguments["candidate_first"],
            watch=recompiles.watch,
            cache_mode=arguments["cache_mode"],
            # A GPU's counter takes seconds: two processes tell of energy, the others of time.
            with_energy=arguments["number"] < stopwatch.ENERGY_PROCESSES,
            verify=None if control else stopwatch.verified(world, candidate, batch),
        ).as_dict()
        found = measured[str(batch)]
        found["invalid"] = shortcuts.changed(before, shortcuts.settings()) or found["invalid"]
        if batch in alone and not found["invalid"]:
            again = functools.partial(stopwatch.pace, world, base, batch)
            found["invalid"] = shortcuts.slowed(alone[batch], again, world.baseline_target)
        if arguments["number"] == 0 and not found["invalid"]:
            found["invalid"] = stopwatch.shortcut(world, base, candidate, batch, found)
    return {"batches": measured}


def memory(arguments: dict[str, Any]) -> dict[str, Any]:
    """Peak memory of loading one arm and running it, in this process alone."""
    world = World(arguments)
    example = world.target.cast(world.example(arguments["batch"]))
    with peak.PeakMemory(world.target) as measured:
        call = shared.load_candidate(world)
        measured.reason = measured.reason or peak.unseen(world.target, call)
        args, kwargs = example
        with torch.inference_mode():
            for _ in range(3):
                call(*args, **kwargs)
    return measured.as_dict()
