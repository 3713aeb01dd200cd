"""What an OpenVINO artifact really runs: its execution graph, its device and its precision."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from gauge.evidence.base import Finding, Subject

_WEIGHTY = frozenset("Convolution Deconvolution FullyConnected RNNSeq RNNCell".split())
# Layers that may multiply by weights, or by other activations.
_MIXED = frozenset(("MatMul", "Subgraph"))
_INTEGERS = frozenset(("i8", "u8"))


class Layer(NamedTuple):
    """A node of the execution graph."""

    kind: str
    precision: str
    kernel: str
    weighty: bool


def executed(subject: Subject) -> list[Layer]:
    """The nodes of the graph after OpenVINO's passes, those that only feed or fetch left out.

    The graph of the call that ran last: one is run first.
    """
    subject.run()
    graph = subject.candidate.compiled_model.get_runtime_model()
    layers = [_layer(node) for node in graph.get_ordered_ops()]
    return [layer for layer in layers if layer.kind not in ("Input", "Const", "Output")]


def _layer(node: Any) -> Layer:
    kind, precision = _told(node, "layerType"), _told(node, "runtimePrecision")
    weights = _precision_of_weights(node)
    if kind == "Subgraph" and weights is not None:
        # Several layers compiled into one: what it tells is its output's precision.
        precision = weights
    weighty = kind in _WEIGHTY or (kind in _MIXED and weights is not None)
    return Layer(kind, precision.lower(), _told(node, "primitiveType"), weighty)


def _precision_of_weights(node: Any) -> str | None:
    for index in range(node.get_input_size()):
        source = node.input_value(index)
        shape = source.get_partial_shape()
        # A matrix; scales and shifts of a normalisation are as many numbers in a row.
        if shape.is_static and sum(size > 1 for size in shape.to_shape()) > 1:
            constant = source.get_node()
            if _told(constant, "layerType") == "Const":
                return _told(constant, "outputPrecisions")
    return None


def _told(node: Any, name: str) -> str:
    told = node.get_rt_info()
    if name not in told:
        return ""
    value = told[name]
    return str(getattr(value, "value", value))


def runtime(subject: Subject) -> Finding:
    """Compiled for the device that the target asks for; in which precision its layers run."""
    devices = list(subject.candidate.compiled_model.get_property("EXECUTION_DEVICES"))
    wanted = getattr(subject.target, "openvino_device", subject.target.device.upper())
    family = wanted.partition(".")[0]
    if not devices or any(device.partition(".")[0] != family for device in devices):
        text = f"asked for {wanted}, runs on {', '.join(devices) or 'nothing'}"
        return Finding(False, text, {"devices": devices})
    layers = executed(subject)
    precisions = Counter(layer.precision for layer in layers if layer.weighty)
    told = ", ".join(f"{n} in {name}" for name, n in sorted(precisions.items())) or "none"
    numbers = {
        "devices": devices,
        "precisions": dict(precisions),
        "kernels": dict(Counter(layer.kernel for layer in layers if layer.weighty)),
    }
    text = f"{len(layers)} layers on {', '.join(devices)}; those with weights: {told}"
    return Finding(True, text, numbers)


def threads(subject: Subject) -> int | None:
    """Threads of an inference; None on a device that has its own."""
    if getattr(subject.target, "openvino_device", "CPU") != "CPU" or subject.target.device != "cpu":
        return None
    return int(subject.candidate.compiled_model.get_property("INFERENCE_NUM_THREADS"))


def integer_share(subject: Subject) -> Finding:
    """How many of the layers that hold weights compute in integers."""
    weighty = [layer for layer in executed(subject) if layer.weighty]
    ran = Counter(layer.kind for layer in weighty if layer.precision in _INTEGERS)
    total = sum(ran.values())
    text = f"{total} of {len(weighty)} layers with weights in integers"
    numbers = {"kernels": dict(ran), "floating": len(weighty) - total}
    if not total:
        return Finding(False, f"not applied: {text}", numbers)
    return Finding(
        True, f"{text} ({', '.join(f'{n} {kind}' for kind, n in sorted(ran.items()))})", numbers
    )
