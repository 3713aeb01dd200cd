"""What an onnxruntime artifact really runs: its optimised graph, its provider, its weights."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gauge.evidence.base import Finding, Subject

INTEGER_OPERATORS = frozenset(
    "QLinearConv QLinearMatMul QGemm MatMulInteger ConvInteger MatMulIntegerToFloat "
    "DynamicQuantizeMatMul DynamicQuantizeLSTM QAttention MatMulNBits ConvIntegerToFloat".split()
)
# Operators that hold weights and compute in floating point, fused ones included.
_FLOATING = frozenset(
    "Conv ConvTranspose FusedConv NhwcFusedConv Gemm FusedGemm MatMul FusedMatMul "
    "Attention MultiHeadAttention LSTM GRU RNN".split()
)
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
LEAST_WEIGHTS = 64


def single_file(subject: Subject) -> Path | None:
    """The artifact's own ONNX file; the candidate's word is not taken for which one it is."""
    files = sorted(subject.directory.glob("*.onnx"))
    return files[0] if len(files) == 1 else None


def executed_operators(subject: Subject) -> Counter[str]:
    """Operators of the graph after onnxruntime's optimisations, as it runs on the target.

    Raises FileNotFoundError when the artifact does not hold exactly one ONNX file.
    """
    path = single_file(subject)
    if path is None:
        raise FileNotFoundError(f"{subject.directory} holds no single .onnx file")
    return _optimised(path, PROVIDERS[subject.target.device])


@lru_cache(maxsize=4)
def _optimised(path: Path, provider: str) -> Counter[str]:
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # Layouts private to this CPU make onnxruntime warn that the file is not portable: it is
        # read here once and thrown away.
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(path, options, providers=[provider])
        model = onnx.load(options.optimized_model_filepath, load_external_data=False)
    return Counter(node.op_type for graph in _graphs(model.graph) for node in graph.node)


def _graphs(graph: Any) -> list[Any]:
    """The graph and those inside its nodes (the branches of an If)."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += _graphs(attribute.g)
    return found


def weight_arrays(subject: Subject) -> dict[str, NDArray[Any]] | None:
    """Large initializers, quantised ones less their zero point; None without a single file."""
    path = single_file(subject)
    if path is None:
        return None
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    points = {
        node.input[0]: arrays[node.input[2]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and len(node.input) > 2 and node.input[2] in arrays
    }
    found = {}
    for name, array in arrays.items():
        if array.ndim < 2 or array.size < LEAST_WEIGHTS or array.dtype.kind not in "fiu":
            continue
        point = points.get(name)
        if point is not None and (point == point.flat[0]).all():
            array = array.astype("int32") - int(point.flat[0])
        found[name] = array
    return found


def runtime(subject: Subject) -> Finding:
    """An onnxruntime session on the provider that the target asks for."""
    wanted = PROVIDERS.get(subject.target.device, "")
    used = subject.candidate.session.get_providers()
    if not used or used[0] != wanted:
        text = f"asked for {wanted}, runs on {', '.join(used) or 'nothing'}"
        return Finding(False, text, {"providers": used})
    operators = executed_operators(subject)
    numbers = {"providers": used, "operators": dict(operators)}
    return Finding(True, f"{sum(operators.values())} operators on {wanted}", numbers)


def threads(subject: Subject) -> int | None:
    """Threads inside an operator; None on a device that has its own."""
    if subject.target.device != "cpu":
        return None
    return int(subject.candidate.session.get_session_options().intra_op_num_threads)


def integer_share(subject: Subject) -> Finding:
    """How many of the operators that hold weights compute in integers."""
    operators = executed_operators(subject)
    ran = {name: n for name, n in operators.items() if name in INTEGER_OPERATORS}
    left = {n: operators.get(n, 0) for n in ("QuantizeLinear", "DequantizeLinear")}
    floating = sum(operators.get(name, 0) for name in _FLOATING)
    of = sum(ran.values()) + floating
    text = f"{sum(ran.values())} of {of} weighty operators in integers"
    numbers = {"kernels": ran, "floating": floating, "unlowered": left}
    if not ran:
        return Finding(False, f"not applied: {text}", numbers)
    return Finding(
        True, f"{text} ({', '.join(f'{n} {k}' for k, n in sorted(ran.items()))})", numbers
    )
