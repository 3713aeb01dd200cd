"""A module as an ONNX file that takes any batch size, checked against the module."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from optimizers import own_threads
from optimizers.artifact import whole
from optimizers.base import Context, Refused
from optimizers.finetune import digest
from optimizers.interface import Call, Interface, bind, growing
from optimizers.messages import first_line
from optimizers.onnx_model import OnnxModel, errors, host_provider
from optimizers.quiet import quiet
from optimizers.structure import Structure, flatten

EXPORTER = "torch.onnx dynamo exporter"
OPSET = 20  # the first with Gelu and GroupNormalization as operators of their own
_TRACED = 2  # torch.export takes a size of 1 for a constant
_SIZES = (1, _TRACED, 3)
_CLOSE = 1e-3
_ONE_FILE = 1_900_000_000  # bytes; a protobuf holds less than 2 GiB
_CHATTER = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")


def export(module: nn.Module, context: Context) -> OnnxModel:
    """Export `module` as it runs on the context's target into `model.onnx` in its workdir.

    Raises Refused naming operator, exporter and opset where there is no export, and RuntimeError
    for a graph that takes one batch size only or computes something else than the module.
    A parameter `threads` of the technique's is the session's. An export of the same module that the
    context's `exported` holds is taken instead, and checked like any other.
    """
    threads = own_threads.asked(context)
    module = context.target.place(module)
    path = context.workdir / "model.onnx"
    # Parameters made in inference mode cannot be traced; calls below need no gradients either.
    with torch.inference_mode(False), torch.no_grad():
        calls = _calls(module, context)
        # Before the export: tracing may leave traces in the module.
        structure, expected = _results(module, calls)
        folder = None if context.exported is None else context.exported / _fingerprint(module)
        taken = _kept(path, folder) or _write(module, calls, path, context)
        if folder is not None and not folder.exists():
            _keep(path, folder)
        interface = _interface(calls[_TRACED], taken, structure)
        context.notes["dropped"] = [*interface.constants, *interface.unused]
        context.notes["opset"] = OPSET
        provider = host_provider(context.target)
        model = OnnxModel(path, interface, context.target, provider, threads)
        _check(model, calls, expected, exact=context.target.dtype == "float32")
    return model


def opened(path: Path, module: nn.Module, context: Context) -> OnnxModel:
    """An ONNX file that is there already, called like `module`, which it was made from.

    The graph's inputs are taken to be the module's tensors, by name or else in order. Raises
    RuntimeError for a graph that takes one batch size only or gives other shapes than the module.
    """
    module = context.target.place(module)
    taken = _inputs(path)
    with torch.no_grad():
        calls = _calls(module, context)
        structure, expected = _results(module, calls)
        model = OnnxModel(path, _interface(calls[_TRACED], taken, structure), context.target)
        _check(model, calls, expected)
    return model


def check_like(
    model: Callable[..., Any],
    other: OnnxModel,
    module: nn.Module,
    context: Context,
    exact: bool = False,
) -> None:
    """Call both at several batch sizes; raises RuntimeError naming those `model` takes if not all.

    module: what `other` was exported from. exact: values must agree too.
    """
    calls = _calls(module, context)
    _check(model, calls, _results(other, calls)[1], exact)


def _calls(module: nn.Module, context: Context) -> dict[int, Call]:
    return {size: bind(module, context.target.cast(context.model.example(size))) for size in _SIZES}


def _results(
    module: Callable[..., Any], calls: dict[int, Call]
) -> tuple[Structure, dict[int, list[Tensor]]]:
    """The outputs' structure, and their tensors by batch size."""
    found = {size: flatten(module(*call.args, **call.kwargs)) for size, call in calls.items()}
    return found[_TRACED][0], {size: tensors for size, (_, tensors) in found.items()}


def _check(
    model: Callable[..., Any],
    calls: dict[int, Call],
    expected: dict[int, list[Tensor]],
    exact: bool = False,
) -> None:
    """Call the graph at each batch size; raises RuntimeError naming those it takes if not all.

    exact: values must agree with the module's too.
    """
    failures = {size: _failure(model, calls[size], expected[size], exact) for size in calls}
    accepted = [str(size) for size, failure in failures.items() if failure is None]
    takes = f"accepts batch {' and '.join(accepted)} only" if accepted else "accepts no batch tried"
    for size, failure in failures.items():
        if failure is not None:
            raise RuntimeError(f"the graph {takes}: at batch {size}, {failure}")


def _failure(
    model: Callable[..., Any], call: Call, expected: list[Tensor], exact: bool
) -> str | None:
    # OpenVINO raises RuntimeError.
    failures: tuple[type[Exception], ...] = (*errors(), RuntimeError)
    try:
        found = flatten(model(*call.args, **call.kwargs))[1]
    except failures as error:
        return first_line(error)
    shapes = [list(one.shape) for one in found]
    wanted = [list(one.shape) for one in expected]
    if shapes != wanted:
        return f"shapes {shapes} come out, not {wanted}"
    for a, b in zip(found, expected, strict=True):
        largest = b.abs().max().item() if b.numel() else 0.0
        if exact and not torch.allclose(a, b, rtol=0, atol=_CLOSE * largest, equal_nan=True):
            return "it computes something else than the module"
    return None


def _write(module: nn.Module, calls: dict[int, Call], path: Path, context: Context) -> list[str]:
    """Export, and return the names of the graph's inputs in order."""
    dimension = torch.export.Dim
    try:
        # DYNAMIC lets the exporter try a second way of tracing where the first bakes the batch
        # in. Where all of them do, AUTO lets it, and the check shows what that means.
        try:
            return _export(module, calls, path, dimension.DYNAMIC)
        except torch.onnx.OnnxExporterError:
            return _export(module, calls, path, dimension.AUTO)
    except torch.onnx.OnnxExporterError as error:
        raise Refused(
            f"{EXPORTER} (opset {OPSET}) cannot export {context.model.full_name}: {_cause(error)}"
        ) from error


def _fingerprint(module: nn.Module) -> str:
    """Of its weights, bit by bit, and of what its layers are."""
    return hashlib.sha256(f"{digest(module)} {module}".encode()).hexdigest()[:32]


def _kept(path: Path, folder: Path | None) -> list[str]:
    """Copies an export that is there already; its inputs' names, none where there is none."""
    if folder is None or not folder.exists():
        return []
    shutil.copytree(folder, path.parent, dirs_exist_ok=True)
    return _inputs(path)


def _keep(path: Path, folder: Path) -> None:
    """Keep all files of an export: large weights have their own."""
    with whole(folder) as unfinished:
        for one in path.parent.glob(f"{path.name}*"):
            shutil.copy2(one, unfinished)


def _inputs(path: Path) -> list[str]:
    """The names of a graph's inputs in order."""
    return [one.name for one in onnx.load(path, load_external_data=False).graph.input]


def _export(module: nn.Module, calls: dict[int, Call], path: Path, dimension: Any) -> list[str]:
    call, larger = calls[_TRACED], calls[max(_SIZES)]
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    with quiet(*_CHATTER):
        program = torch.onnx.export(
            module,
            call.args,
            path,
            kwargs=call.kwargs,
            dynamo=True,
            dynamic_shapes=_dynamic(call.arguments, larger.arguments, dimension),
            opset_version=OPSET,
            external_data=size > _ONE_FILE,
            verbose=False,
        )
    assert program is not None  # only the TorchScript exporter returns nothing
    _strip(path)
    return [str(value.name) for value in program.model.graph.inputs]


def _strip(path: Path) -> None:
    """Drop the stack trace of every node: a quarter of a small file, and paths of this machine."""
    model = onnx.load(path, load_external_data=False)
    model.ClearField("metadata_props")
    for function in model.functions:
        function.ClearField("metadata_props")
        _strip_nodes(function.node)
    _strip_graph(model.graph)
    path.write_bytes(model.SerializeToString())


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.ClearField("metadata_props")
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.ClearField("metadata_props")
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for attribute in node.attribute:
            # Touching an absent graph would make it present.
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _strip_graph(graph)


def _dynamic(small: Any, large: Any, dimension: Any) -> Any:
    """The arguments with each tensor replaced by its dimensions that grow with the batch."""
    if isinstance(small, dict):
        return {name: _dynamic(value, large[name], dimension) for name, value in small.items()}
    if isinstance(small, tuple):
        return tuple(_dynamic(a, b, dimension) for a, b in zip(small, large, strict=True))
    if isinstance(small, Tensor):
        return dict.fromkeys(growing(small, large), dimension)
    return None


def _interface(call: Call, taken: list[str], outputs: Any) -> Interface:
    tensors = call.tensors
    # The exporter keeps the order and may change a name; where it drops inputs, names must do.
    names = (
        dict(zip(tensors, taken, strict=True))
        if len(taken) == len(tensors)
        else {name: name for name in tensors if name in taken}
    )
    if sorted(names.values()) != sorted(taken):
        raise RuntimeError(f"the graph takes {taken}, the module {list(tensors)}")
    return Interface(
        positional=call.positional,
        inputs={
            name: {"name": inside, "dtype": str(tensors[name].dtype)}
            for name, inside in names.items()
        },
        constants=call.constants,
        unused=[name for name in tensors if name not in names],
        outputs=outputs,
    )


def _cause(error: BaseException) -> str:
    """The operator that has no ONNX form, or the first cause's first line."""
    operator = re.search(r"OpOverload\(op='([^']+)'", str(error))
    if operator:
        return f"operator {operator[1]} has no ONNX form"
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
