"""Weights and activations in int8, scales from the calibration split, run by onnxruntime."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from optimizers import layer_noise, onnx_model
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.interface import Interface
from optimizers.onnx_export import check_like, export
from optimizers.onnx_model import OnnxModel
from optimizers.onnx_sensitivity import fewest, layers, outputs, sqnr, worst_first
from optimizers.saturation import saturates
from optimizers.structure import flatten
from zoo import Model

_OF_TRANSFORMERS = ("LayerNormalization", "Softmax")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WORDS = {"granularity": ("channel", "tensor"), "keep": ("none", "auto")}
_WANTED = 30.0
"""dB: noise of a thousandth of the output's power.

Note: top-1 agreement of efficientnet_lite0 on its evaluation photos is 0.78 at 17 dB, 0.86 at 21,
0.90 at 25, 0.948 at 28.6 and 0.973 at 33 dB; of minilm's nearest neighbours 0.96 at 30 dB. 28 was
tried first: that model's figures are a little better than an untouched split would say."""
_JUDGED = 48  # samples of the calibration split that the dB are measured on


@register
class OnnxRuntimeInt8(Technique):
    """Static QDQ: weights signed, activations unsigned with a zero point.

    Unsigned times signed is what the x86 instructions (VNNI) multiply.

    granularity: "channel", a scale for each output channel of a weight, or "tensor", one for all.
    keep: "none" leaves no layer in FP32; "auto" leaves the most harmful ones, as few as give
        `_WANTED` dB at the output on the calibration split.
    threads: see optimizers.own_threads.
    """

    name = "onnxruntime_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("runtime", "integer_kernels")
    variants = (
        {"granularity": "channel", "keep": "none", "threads": "all"},
        {"granularity": "tensor", "keep": "none", "threads": "all"},
        {"granularity": "channel", "keep": "auto", "threads": "all"},
    )
    sparing = ("keep", "auto")

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.dtype != "float32":
            return "int8 leaves nothing in half precision"
        return onnx_model.missing(target)

    def apply(self, module: nn.Module, context: Context) -> OnnxModel:
        for name, words in _WORDS.items():
            if context.params[name] not in words:
                raise ValueError(
                    f"{name} must be {' or '.join(words)}, found {context.params[name]}"
                )
        if context.params["keep"] == "auto":
            _check_version()
        exported = export(module, context)
        path = context.workdir / "int8" / "model.onnx"
        path.parent.mkdir()
        context.notes["reduce_range"] = saturates()
        quantiser = _Quantiser(exported, context)
        kept = _kept(quantiser, exported, context) if context.params["keep"] == "auto" else []
        quantiser.write(path, exclude=kept)
        layer_noise.note_graphs(context, exported, (quantiser.prepared, path), _PRODUCTS)
        model = OnnxModel(path, exported.interface, context.target, threads=exported.threads)
        check_like(model, exported, module, context)
        return model


def _check_version() -> None:
    """Raise Refused where each try would have to calibrate anew, which takes an hour."""
    from onnxruntime import __version__, quantization

    if "calibration_cache_path" not in inspect.signature(quantization.quantize_static).parameters:
        raise Refused(
            f"leaving layers in FP32 needs an onnxruntime that keeps its calibration, and "
            f"{__version__} does not (pip install -U onnxruntime)"
        )


class _Reader:
    """Calibration batches in the graph's own names, as onnxruntime asks for them."""

    def __init__(self, interface: Interface, context: Context) -> None:
        self._interface = interface
        self._batches = context.calibration()
        self.samples = 0

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        feeds = self._interface.feeds(*batch)
        self.samples += len(next(iter(feeds.values())))
        return {name: tensor.numpy() for name, tensor in feeds.items()}


class _Quantiser:
    """Writes quantised files of one exported model; calibrates once."""

    def __init__(self, exported: OnnxModel, context: Context) -> None:
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.exported = exported
        self.context = context
        self.large = len(exported.files()) > 1
        folder = context.workdir / "prepared"
        folder.mkdir()
        self.prepared = folder / "prepared.onnx"
        self.ranges = folder / "ranges.json"
        with quiet():
            # torch's exporter has written all shapes; inferring them again fails on some graphs.
            quant_pre_process(
                exported.path,
                self.prepared,
                skip_symbolic_shape=True,
                save_as_external_data=self.large,
                all_tensors_to_one_file=True,
                external_data_location=f"{self.prepared.name}.data",
            )
        self.graph = onnx.load(self.prepared, load_external_data=False).graph
        self.choice = _choice(self.graph)
        if context.params["keep"] == "auto" and self.choice["op_types_to_quantize"] is None:
            # Sums and pools next to a layer in FP32 would go through 8 bits all the same, and no
            # choice of layers would give more than 26 dB on efficientnet_lite0.
            self.choice["op_types_to_quantize"] = [*_PRODUCTS, "Clip", "Relu"]

    def write(
        self, path: Path, only: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> None:
        """Quantise into a file. only: these nodes and no others. exclude: all but these."""
        from onnxruntime import quantization

        reader = _Reader(self.exported.interface, self.context)
        choice = {
            **self.choice,
            "nodes_to_exclude": [*self.choice["nodes_to_exclude"], *exclude],
        }
        if self.context.params["keep"] == "auto":
            # The ranges that the first call finds serve all.
            choice["calibration_cache_path"] = self.ranges
        with quiet():
            quantization.quantize_static(
                self.prepared,
                path,
                reader,
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=self.context.params["granularity"] == "channel",
                reduce_range=self.context.notes["reduce_range"],
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                use_external_data_format=self.large,
                nodes_to_quantize=None if only is None else list(only),
                **choice,
            )
        if reader.samples:
            self.context.notes["samples"] = reader.samples


def _kept(quantiser: _Quantiser, exported: OnnxModel, context: Context) -> list[str]:
    """Nodes to leave in FP32; the notes tell each layer's dB when it alone is quantised."""
    batch = context.target.cast(layer_noise.samples(context, _JUDGED))
    expected = outputs(exported, batch, flatten)
    path = context.workdir / "tried.onnx"

    def measure(only: Sequence[str] | None, exclude: Sequence[str]) -> float:
        quantiser.write(path, only, exclude)
        tried = OnnxModel(path, exported.interface, context.target)
        return sqnr(expected, outputs(tried, batch, flatten))

    whole = measure(None, ())  # calibrates every tensor, not only one layer's
    ranked = worst_first(layers(quantiser.graph, _PRODUCTS), measure)
    kept, reached = fewest([layer for layer, _ in ranked], measure, _WANTED)
    context.notes["sensitivity"] = {layer.name: round(decibel, 2) for layer, decibel in ranked}
    context.notes["sqnr"] = {"all_int8": round(whole, 2), "kept": round(reached, 2)}
    context.notes["kept"] = [layer.name for layer in kept]
    return context.notes["kept"]


def _choice(graph: Any) -> dict[str, Any]:
    """Which operators go into int8.

    Note: with every operator in int8, the zoo's ViT agrees with FP32 on 96.0 % of the images (14 dB
    SQNR); with products only, their results in FP32, on 99.5 % (33 dB), and no slower at batch 1.
    Padding masks of minus infinity would give scores no scale at all. Convolution nets lose
    nothing in full int8, and are 10 to 15 % faster than with products only.
    """
    attends = any(node.op_type in _OF_TRANSFORMERS for node in graph.node)
    return {
        "op_types_to_quantize": [*_PRODUCTS, "Gather"] if attends else None,
        "nodes_to_exclude": _float_lookups(graph, only_tables=attends),
        "extra_options": {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}
        if attends
        else {},
    }


def _float_lookups(graph: Any, only_tables: bool) -> list[str]:
    """Gather nodes to leave alone: those of shared tables, and, if asked, those of activations.

    onnxruntime quantises a looked-up row with its table's scale, and cannot where the table is a
    head's weight as well, which has a scale a channel.
    """
    tables = {tensor.name for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    return [
        node.name
        for node in graph.node
        if node.op_type == "Gather"
        and (uses[node.input[0]] > 1 if node.input[0] in tables else only_tables)
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The quantiser warns, on the root logger, of every 1-D weight that has no second axis."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
