"""The work of suites/test_edge.py in a worker: counting, peaks of the machine, cold starts."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gauge import counting, outputs, roofline
from optimizers import artifact, openvino_model, own_threads
from optimizers.interface import Interface
from suites import world as shared
from suites.catalog import ROOT
from suites.stopwatch import TIMED_TOLERANCE
from suites.world import World

FIRST_ANSWER_S = 300.0
"""A process that has not answered by then never will."""

_RUNTIMES = {
    "optimizers.onnx_model:OnnxModel": "onnxruntime",
    "optimizers.openvino_model:OpenVinoModel": "openvino",
    "optimizers.executorch_model:ExecuTorchModel": "executorch",
}
"""Loaders whose files a runtime opens without this project; all others are opened by it."""


def edge_count(arguments: dict[str, Any]) -> dict[str, Any]:
    """Parameters, multiply-accumulates and elements moved of a module, by torch's counter.

    artifact: of the stages that change the structure; None counts the baseline itself.
    """
    world = World(arguments)
    # FP32 on the CPU: what is counted depends on neither.
    module = world.fp32()
    if arguments["artifact"] is not None:
        opened = artifact.load(Path(arguments["artifact"]) / shared.ARTIFACT, world.target)
        if opened.module is None:
            return {"reason": "the artifact is no torch module, and its structure is not FP32's"}
        module = opened.module.to("cpu").float()
    batch = world.example(arguments["batch"])
    found = counting.work(module, batch)
    return {"reason": None, **vars(found)}


def edge_machine(arguments: dict[str, Any]) -> dict[str, Any]:
    """FLOP/s in each number format and bytes/s, measured on the target (gauge.roofline)."""
    return roofline.measure(World(arguments).target)


def edge_start(arguments: dict[str, Any]) -> dict[str, Any]:
    """Cold starts of both sides in turns, each in a process of its own, after one pair for nothing.

    That first pair fills the page cache: a disk is not what is asked. Returns for each arm seconds
    and peak bytes of each start and the installed bytes that the last one had loaded; "wrong" says
    what is wrong with an answer, or None: then nothing more is measured. An artifact's answer is
    compared with what it gave in memory.
    """
    world = World(arguments)
    folders = {"baseline": arguments["weights"], "candidate": arguments["artifact"]}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        arms = {}
        for arm, folder in folders.items():
            place = Path(directory, arm)
            place.mkdir()
            arms[arm] = _Arm(world, Path(folder) / shared.ARTIFACT, place, arm)
            found[arm] = {"seconds": [], "peak_bytes": []}
        for number in range(arguments["starts"] + 1):
            # Which goes first changes with every pair.
            for arm in list(arms)[:: 1 if number % 2 else -1]:
                told = arms[arm].start()
                if number:
                    found[arm]["seconds"].append(told["seconds"])
                    found[arm]["peak_bytes"].append(told["peak_bytes"])
                found[arm]["loaded"] = told["loaded"]
            if number in (0, arguments["starts"]):
                wrong = next(filter(None, (one.wrong() for one in arms.values())), None)
                if wrong:
                    return {"wrong": wrong}
        for arm, one in arms.items():
            found[arm] |= {"runtime": one.runtime, "files": one.bytes}
    return {"wrong": None, **found}


class _Arm:
    """One side's request, and the processes that answer it."""

    def __init__(self, world: World, folder: Path, place: Path, arm: str) -> None:
        self.world, self.folder, self.place, self.arm = world, folder, place, arm
        artifact.check(folder)
        self.bytes = sum(artifact.sizes(folder).values())
        loader = json.loads((folder / artifact.MANIFEST).read_text())
        self.batch = (loader["batch"] or 1) if arm == "candidate" else 1
        self.runtime = _RUNTIMES.get(loader["loader"], "torch")
        self.interface: Interface | None = None
        request = {
            "runtime": self.runtime,
            "artifact": str(folder),
            "threads": world.threads,
            "own": [str(ROOT), str(folder), *map(str, world.arguments["plugins"])],
            **self._needs(),
        }
        self.request = place / "request.json"
        self.request.write_text(json.dumps(request))

    def _needs(self) -> dict[str, Any]:
        """What the opener of this runtime needs, the inputs written to a file."""
        args, kwargs = self.world.example(self.batch)
        if self.runtime == "torch":
            feeds = self.place / "feeds.pt"
            torch.save((args, kwargs), feeds)
            arguments = self.world.arguments
            own = arguments["target"]
            base = self.arm == "baseline"
            return {
                "feeds": str(feeds),
                "target": arguments["baseline_target"] if base else own,
                "saved_for": "cpu" if base else own,
                "plugins": arguments["plugins"],
                "modules": arguments["modules"][self.arm],
            }
        data = artifact.read_json(self.folder / "artifact.json", ("interface",))
        self.interface = Interface(**data["interface"])
        tensors = self.interface.feeds(*self.world.target.cast((args, kwargs)))
        # In the program's order, which ExecuTorch goes by.
        names = [slot["name"] for slot in self.interface.inputs.values()]
        feeds = self.place / "feeds.npz"
        np.savez(feeds, **{name: tensors[name].cpu().numpy() for name in names})  # type: ignore[arg-type]
        threads = own_threads.described(data)
        more = {key: data.get(key) for key in ("file", "provider")}
        more["threads"] = own_threads.used(threads, self.world.target)
        if self.runtime == "openvino":
            settings = openvino_model.settings(self.world.target, data["precision"], threads)
            more = {"device": openvino_model.device(self.world.target), "settings": settings}
        return {"feeds": str(feeds), **more}

    def start(self) -> dict[str, Any]:
        """Seconds from starting the process to its first answer, and what it tells of itself.

        Raises RuntimeError with the last line of its own error where it ends without an answer.
        """
        for name in ("told.json", "answer.npz"):
            (self.place / name).unlink(missing_ok=True)
        command = [sys.executable, "-m", "suites.first_answer", str(self.request)]
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=FIRST_ANSWER_S,
        )
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            how = f"signal {-done.returncode}" if done.returncode < 0 else lines[-1:] or "no word"
            raise RuntimeError(f"the {self.arm}'s cold start ended without an answer: {how}")
        told = json.loads((self.place / "told.json").read_text())
        return {**told, "seconds": told["answered"] - began}

    def wrong(self) -> str | None:
        """What is wrong with the last answer; None where it is what the artifact answers."""
        with np.load(self.place / "answer.npz") as stored:
            found = [torch.from_numpy(stored[name]) for name in sorted(stored)]
        expected, tolerance = self._expected()
        if expected is None:
            return None
        if self.interface is not None:
            answered = shared.arrays(shared.on_cpu(self.interface.outputs_from(found)))
        else:
            answered = dict(zip(expected, (one.numpy() for one in found), strict=False))
        told = outputs.compare(expected, answered)
        if len(found) == len(expected) and told.within(max(tolerance, TIMED_TOLERANCE)):
            return None
        what = told.problem or f"{told.relative:.2g} of the largest output"
        return f"the {self.arm}'s first answer is not what the artifact answers: {what}"

    def _expected(self) -> tuple[dict[str, np.ndarray] | None, float]:
        if self.arm == "baseline":
            result = shared.run_example(self.world, self.world.fp32(), self.batch)
            return shared.arrays(result), 0.0
        manifest = artifact.read_json(self.folder / artifact.MANIFEST, ("tolerance",))
        prefix = f"{self.batch}/"
        with np.load(self.folder.parent / "in_memory.npz") as stored:
            kept = {k.removeprefix(prefix): stored[k] for k in stored if k.startswith(prefix)}
        return kept or None, manifest["tolerance"]


__all__ = ["edge_count", "edge_machine", "edge_start"]
