"""Other people's tools used as their documentation shows, timed against eager FP32.

What class A has to beat: each tool alone, with the defaults of its own getting-started page, batch
1 and one thread. Nothing of `optimizers` is used, so that both can be wrong in different ways.

    python tests/reference_tools.py MODEL WEIGHTS.safetensors

builds each tool for one model of the zoo in this process, times them in turns with eager FP32, runs
the evaluation split, and prints a line of JSON a tool.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import zoo
from gauge import paired, targets, timing
from zoo import Batch

MARGIN = 0.01
"""The accuracy gate of the suites' policy: a point."""

SECONDS = 1.0
CALIBRATION = 100
"""Samples that static quantisation sees; a hundred is what most of the pages name."""

Call = Callable[..., Any]


class Setup:
    """A model in FP32, one call's arguments, calibration batches of one sample, a folder."""

    def __init__(self, model: zoo.Model, module: nn.Module, folder: Path) -> None:
        self.model, self.module, self.folder = model, module, folder
        self.example = model.example(1)
        self.names = list(self.example[1]) or [f"x{i}" for i in range(len(self.example[0]))]

    def tensors(self, batch: Batch) -> list[Tensor]:
        return [*batch[0], *batch[1].values()]

    def arrays(self, batch: Batch) -> dict[str, np.ndarray]:
        tensors = self.tensors(batch)
        return {name: one.numpy() for name, one in zip(self.names, tensors, strict=True)}

    def calibration(self) -> Iterator[Batch]:
        batches = self.model.split("calibration").batches(1)
        return (batch for batch, _ in zip(batches, range(CALIBRATION), strict=False))

    def onnx(self) -> Path:
        path = self.folder / "model.onnx"
        if not path.exists():
            args, kwargs = self.example
            program = torch.onnx.export(
                self.module,
                args,
                kwargs=kwargs,
                dynamo=True,
                input_names=self.names,
                verbose=False,
            )
            assert program is not None
            program.save(path)
        return path


def torch_compile(setup: Setup) -> Call:
    """https://docs.pytorch.org/docs/stable/generated/torch.compile.html"""
    return torch.compile(setup.module)


def _session(path: Path, setup: Setup) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(*args: Tensor, **kwargs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, setup.arrays((args, kwargs)))[0])

    return call


def onnxruntime_fp32(setup: Setup) -> Call:
    """https://onnxruntime.ai/docs/get-started/with-python.html"""
    return _session(setup.onnx(), setup)


def onnxruntime_static_int8(setup: Setup) -> Call:
    """https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html"""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(setup.calibration())

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else setup.arrays(batch)

    prepared, path = setup.folder / "prepared.onnx", setup.folder / "int8.onnx"
    quant_pre_process(setup.onnx(), prepared)
    quantize_static(prepared, path, Reader())
    return _session(path, setup)


def _openvino_model(setup: Setup) -> Any:
    import openvino

    args, kwargs = setup.example
    return openvino.convert_model(setup.module, example_input=kwargs or args)


def _compiled(model: Any) -> Call:
    import openvino

    compiled = openvino.compile_model(
        model, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    )

    def call(*args: Tensor, **kwargs: Tensor) -> Tensor:
        found = compiled({name: one.numpy() for name, one in kwargs.items()} or list(args))
        return torch.from_numpy(found[0].copy())

    return call


def openvino_default(setup: Setup) -> Call:
    """https://docs.openvino.ai: convert_model and compile_model, in its own choice of precision."""
    return _compiled(_openvino_model(setup))


def nncf_int8(setup: Setup) -> Call:
    """https://github.com/openvinotoolkit/nncf: nncf.quantize of the OpenVINO model."""
    import nncf

    args_or_kwargs = [batch[1] or list(batch[0]) for batch in setup.calibration()]
    dataset = nncf.Dataset(args_or_kwargs, _as_numpy)
    return _compiled(nncf.quantize(_openvino_model(setup), dataset))


def _as_numpy(sample: Any) -> Any:
    if isinstance(sample, dict):
        return {name: one.numpy() for name, one in sample.items()}
    return [one.numpy() for one in sample]


def fx_int8(setup: Setup) -> Call:
    """https://docs.pytorch.org/docs/stable/quantization.html, FX graph mode, backend x86."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    args, kwargs = setup.example
    mapping = get_default_qconfig_mapping("x86")
    prepared = prepare_fx(copy.deepcopy(setup.module), mapping, kwargs or args)
    with torch.no_grad():
        for more, named in setup.calibration():
            prepared(*more, **named)
    return convert_fx(prepared)


def pt2e_int8(setup: Setup) -> Call:
    """https://docs.pytorch.org/ao: PT2E quantisation with the x86 backend through inductor."""
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as xiq
    from torch._inductor import config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    args, kwargs = setup.example
    # strict=True: otherwise this quantizer refuses torchvision's resnet18.
    exported = torch.export.export(setup.module, args, kwargs, strict=True).module()
    quantizer = xiq.X86InductorQuantizer()
    quantizer.set_global(xiq.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for more, named in setup.calibration():
            prepared(*more, **named)
        converted = convert_pt2e(prepared)
        with config.patch(freezing=True):  # the page runs with TORCHINDUCTOR_FREEZING=1
            compiled = torch.compile(converted)
            compiled(*args, **kwargs)
    return compiled


TOOLS: dict[str, Callable[[Setup], Call]] = {
    "torch.compile": torch_compile,
    "onnxruntime": onnxruntime_fp32,
    "onnxruntime quantize_static": onnxruntime_static_int8,
    "openvino": openvino_default,
    "openvino + nncf.quantize": nncf_int8,
    "torch.ao FX int8": fx_int8,
    "torchao PT2E int8": pt2e_int8,
}


def scores(call: Call, setup: Setup, reference: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(score a sample of the evaluation split, the outputs); one sample a call."""
    split = setup.model.split("evaluation")
    with torch.inference_mode():
        parts = [call(*args, **kwargs).float().clone() for args, kwargs in split.batches(1)]
    joined = torch.cat(parts)
    against = joined if reference is None else reference
    return setup.model.score(joined, split, against), joined


def measure(name: str, setup: Setup, expected: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Build a tool and tell its log-ratio to eager FP32, its drop, and whether it is certified.

    A tool that cannot take the model is told by its own error: nobody's page shows the way around.
    """
    began = time.perf_counter()
    told: dict[str, Any] = {"model": setup.model.full_name, "tool": name}
    try:
        call = TOOLS[name](setup)
        args, kwargs = setup.example
        with torch.inference_mode():
            call(*args, **kwargs)
        told["build_s"] = round(time.perf_counter() - began, 1)
        found, _ = scores(call, setup, expected[1])
    except Exception as error:  # noqa: BLE001 - a result like any other, shown in the table
        text = str(error).strip().splitlines() or [""]
        return {**told, "error": f"{type(error).__name__}: {text[0][:160]}"}
    target = targets.get("cpu")
    timed = timing.measure_pair(
        setup.module, call, target, setup.example, setup.example, seconds=SECONDS
    )
    judged = paired.compare(
        expected[0].numpy(), found.numpy(), MARGIN, setup.model.split("evaluation").groups
    )
    return {
        **told,
        "log_ratio": timed.log_ratio,
        "invalid": timed.invalid,
        "baseline_s": timed.baseline.median_s,
        "candidate_s": timed.candidate.median_s,
        "drop": judged.drop,
        "accuracy": judged.status.name,
    }


def ready(model: zoo.Model, weights: Path) -> nn.Module:
    """The model with the weights that the suites' cache holds, in eval mode."""
    module = model.build().eval()
    module.load_state_dict(load_file(weights))
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tools' own notices: of deprecation, of layouts, of what they would advise."""
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--tool", action="append", choices=sorted(TOOLS))
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = zoo.get(chosen.model)
    with tempfile.TemporaryDirectory() as folder, quiet():
        setup = Setup(model, ready(model, chosen.weights), Path(folder))
        expected = scores(setup.module, setup)
        for name in chosen.tool or TOOLS:
            print(json.dumps(measure(name, setup, expected)), flush=True)


if __name__ == "__main__":
    main()
