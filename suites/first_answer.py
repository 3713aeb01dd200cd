"""A cold start: a process of its own opens one artifact, answers once, and tells when it had.

`python -m suites.first_answer REQUEST.json`. What is imported here is part of what is timed, so it
is only what the artifact's runtime needs: ONNX and OpenVINO files are opened without torch.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Opened = tuple[Callable[[], Any], Callable[[Any], list[Any]]]
"""What answers once, and what makes numpy arrays of that answer, in the artifact's own order."""


def main(path: Path) -> None:
    """Read the request, answer it, write `told.json` and `answer.npz` beside it.

    The request: "runtime" (a key of OPENERS), "artifact" (its folder), "feeds" (an .npz), and what
    its opener needs.
    """
    request = json.loads(path.read_text())
    call, arrays_of = OPENERS[request["runtime"]](request)
    answer = call()
    answered = time.monotonic()
    import numpy as np

    from gauge import loaded

    found = loaded.by_package(loaded.files(), [Path(one) for one in request["own"]])
    told = {"answered": answered, "peak_bytes": _peak(), "loaded": found}
    arrays = {f"{index:04d}": np.asarray(one) for index, one in enumerate(arrays_of(answer))}
    np.savez(path.with_name("answer.npz"), **arrays)  # type: ignore[arg-type]
    path.with_name("told.json").write_text(json.dumps(told))


def _peak() -> int:
    """The largest resident size of this process so far, in bytes (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    line = next(one for one in status.splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _feeds(request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    with np.load(request["feeds"]) as stored:
        return dict(stored)


def _onnxruntime(request: dict[str, Any]) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    file = Path(request["artifact"], request["file"])
    session = onnxruntime.InferenceSession(file, options, providers=[request["provider"]])
    feeds = _feeds(request)
    return lambda: session.run(None, feeds), list


def _openvino(request: dict[str, Any]) -> Opened:
    # Tells nobody of its use, and writes nothing into the home folder (optimizers.openvino_model).
    with _variable("CI", "true"):
        import openvino

    core = openvino.Core()
    feeds = _feeds(request)
    model = core.read_model(Path(request["artifact"], "model.xml"))
    model.reshape({name: list(one.shape) for name, one in feeds.items()})
    compiled = core.compile_model(model, request["device"], request["settings"])
    return lambda: compiled(feeds), lambda answer: list(answer.values())


def _executorch(request: dict[str, Any]) -> Opened:
    import torch
    from executorch.runtime import Runtime  # imports torch: its Python runtime takes its tensors

    program = Runtime.get().load_program(Path(request["artifact"], "model.pte"))
    method = program.load_method("forward")
    inputs = [torch.from_numpy(one) for one in _feeds(request).values()]
    return lambda: method.execute(inputs), lambda answer: [one.numpy() for one in answer]


def _torch(request: dict[str, Any]) -> Opened:
    """By the project's own loader, with the one file of the model and those of the techniques."""
    for name in request["modules"]:
        importlib.import_module(name)
    if request["plugins"]:
        from suites.plugins import load_plugin

        for plugin in request["plugins"]:
            load_plugin(Path(plugin))
    import torch

    from gauge import targets
    from optimizers import artifact

    torch.set_num_threads(request["threads"])
    target = targets.get(request["target"])
    target.threads = request["threads"]
    target.prepare()
    saved_for = targets.get(request["saved_for"])
    saved_for.threads = request["threads"]
    optimized = artifact.opened(Path(request["artifact"]), saved_for)
    if saved_for.name != target.name:
        optimized.place(target)  # type: ignore[attr-defined]  # FP32 weights, saved for the CPU
    args, kwargs = target.cast(torch.load(request["feeds"], weights_only=True))

    def call() -> Any:
        with torch.inference_mode():
            result = optimized(*args, **kwargs)
        target.synchronize()
        return result

    def arrays(result: Any) -> list[Any]:
        from gauge import outputs

        return [one.float().cpu().numpy() for one in outputs.flatten(result).values()]

    return call, arrays


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    import os

    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


OPENERS: dict[str, Callable[[dict[str, Any]], Opened]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "executorch": _executorch,
    "torch": _torch,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
