"""Where a quantised model's noise comes from: what each layer adds to it, from one pass of both.

Not the layer whose output is the noisiest (noise is handed on), but the one that adds the most
between its input and its output. One extreme channel leaves the signal-to-noise ratio of an
activation as it is, and shows only behind the layer that reads it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from optimizers.base import Context
from optimizers.onnx_model import OnnxModel, open_session
from optimizers.onnx_sensitivity import weighty
from zoo import Batch

SAMPLES = 8
"""Of the calibration split: every activation of both models is held at once."""

PRODUCTS = ("aten.conv", "aten.linear", "aten.addmm", "aten.mm")

MOST = 8
"""Layers that the notes name."""

_LOUDEST = 100.0  # a share of noise; a layer that gives infinities must not hide the others


class Passage(NamedTuple):
    """What a layer got and what it gave for the same samples: float tensors of any shape."""

    given: Tensor
    result: Tensor


Passages = Mapping[str, Passage]


def note(context: Context, exact: Passages, rounded: Passages) -> None:
    """Put `noise` into the notes: layer → [dB before it, dB after it], the worst first."""
    found = added(exact, rounded)
    if found:
        context.notes["noise"] = dict(list(found.items())[:MOST])


def added(exact: Passages, rounded: Passages) -> dict[str, list[float]]:
    """By layer signal to noise in dB at its input and its output; what adds most comes first.

    exact, rounded: passages of the same samples before and after quantisation. Layers that only
    one has, or whose shapes differ, are left out. dB are within ±200.
    """
    shares = {}
    for name in exact.keys() & rounded.keys():
        pairs = list(zip(exact[name], rounded[name], strict=True))
        if all(a.shape == b.shape for a, b in pairs):
            shares[name] = [_share(a, b) for a, b in pairs]
    ranked = sorted(shares.items(), key=lambda one: (one[1][0] - one[1][1], one[0]))
    return {name: [round(_decibel(one), 2) for one in both] for name, both in ranked}


def _share(exact: Tensor, rounded: Tensor) -> float:
    """Power of the difference over that of the exact values."""
    signal = float(exact.double().square().sum())
    noise = float((exact.double() - rounded.double()).square().sum())
    if not math.isfinite(noise) or (noise and not signal):
        return _LOUDEST
    return min(noise / signal, _LOUDEST) if noise else 0.0


def _decibel(share: float) -> float:
    return min(-10 * math.log10(share), 200.0) if share else 200.0


def samples(context: Context, count: int = SAMPLES) -> Batch:
    """A few samples of the calibration split, spread over it, on the CPU."""
    split = context.model.split("calibration")
    rows = torch.linspace(0, len(split) - 1, min(count, len(split))).round().long()
    return split.take(rows)


def note_modules(context: Context, exact: Any, rounded: Any) -> None:
    """`note` of two modules whose layers are named alike."""
    batch = samples(context)
    note(context, of_module(exact, batch), of_module(rounded, batch))


def of_module(module: Callable[..., Any], batch: Batch) -> dict[str, Passage]:
    """Passages of every layer without children that maps one float tensor to another, by name.

    A layer that runs several times is told by its last call. Quantised tensors are told as floats.
    """
    seen: dict[str, Passage] = {}
    with _hooks(module, seen), torch.no_grad():
        args, kwargs = batch
        module(*args, **kwargs)
    return seen


@contextmanager
def _hooks(module: Any, seen: dict[str, Passage]) -> Iterator[None]:
    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            given = next(
                (one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None
            )
            result = result[0] if isinstance(result, tuple) and result else result
            both = [_float(one) for one in (given, result)]
            if both[0] is not None and both[1] is not None:
                seen[name] = Passage(both[0], both[1])

        return hook

    handles = [
        layer.register_forward_hook(keep(name), with_kwargs=True)
        for name, layer in module.named_modules()
        if not any(True for _ in layer.children()) or hasattr(layer, "_packed_params")
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _float(value: Any) -> Tensor | None:
    if not isinstance(value, Tensor) or value.is_nested:
        return None
    if value.is_quantized:
        return value.dequantize()
    # A copy: what follows may work in place.
    return value.detach().float().clone() if value.is_floating_point() else None


def of_fx(graph: GraphModule, batch: Batch) -> dict[str, Passage]:
    """Passages of an exported graph's convolutions and products, by the node's name."""
    seen: dict[str, Passage] = {}

    class Seeing(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            result = super().run_node(n)
            if n.op == "call_function" and str(n.target).startswith(PRODUCTS):
                given, _ = self.fetch_args_kwargs_from_env(n)
                both = [_float(one) for one in (given[0], result)]
                if both[0] is not None and both[1] is not None:
                    seen[n.name] = Passage(both[0], both[1])
            return result

    args, kwargs = batch
    with torch.no_grad():
        Seeing(graph).run(*args, *kwargs.values())
    return seen


def of_graphs(
    paths: Sequence[Path], feeds: Mapping[str, Any], kinds: Sequence[str], folder: Path
) -> list[dict[str, Passage]]:
    """Passages of ONNX files that name tensors alike, by the first one's nodes with weights.

    kinds: of nodes, as `Conv`. feeds: arrays by input. folder: an empty one, to work in. Raises
    what `open_session` raises.
    """
    import onnx

    first = onnx.load(paths[0], load_external_data=False).graph
    layers = {node.name: (node.input[0], node.output[0]) for node in weighty(first, kinds)}
    found = []
    for index, path in enumerate(paths):
        model = onnx.load(path)
        made = {name for node in model.graph.node for name in node.output}
        given = {one.name for one in model.graph.input}
        shown = {one.name for one in model.graph.output}
        wanted = {name for both in layers.values() for name in both} & made
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name) for name in sorted(wanted - shown)
        )
        shown_in = folder / f"{index}.onnx"
        onnx.save(model, shown_in, save_as_external_data=True, location=f"{index}.data")
        session = open_session(shown_in, "CPUExecutionProvider", torch.get_num_threads())
        names = sorted(wanted)
        # Of no names, all outputs would come.
        given_back = session.run(names, dict(feeds)) if names else []
        values = dict(zip(names, given_back, strict=True))
        values |= {name: feeds[name] for name in given & feeds.keys()}
        found.append(
            {
                name: Passage(*(torch.from_numpy(values[one]) for one in both))
                for name, both in layers.items()
                if all(one in values and values[one].dtype.kind == "f" for one in both)
            }
        )
    return found


def note_graphs(
    context: Context, exported: OnnxModel, paths: Sequence[Path], kinds: Sequence[str]
) -> None:
    """`note` of two ONNX files, exact and rounded, with `exported`'s own inputs."""
    feeds = exported.feeds(context.target.cast(samples(context)))
    folder = context.workdir / "noise"
    folder.mkdir()
    note(context, *of_graphs(paths, feeds, kinds, folder))
    shutil.rmtree(folder)
