"""torchao's quantisation of exported graphs (PT2E): annotate, observe, convert, lower."""

from __future__ import annotations

import dataclasses
import importlib.util
import platform
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from optimizers import aot_build, layer_noise
from optimizers.aot_package import ANY, AotPackage
from optimizers.base import Context, Device, Refused
from optimizers.quiet import quiet
from optimizers.saturation import saturates

OBSERVERS = {"minmax": "MinMaxObserver", "histogram": "HistogramObserver"}

# The smallest scale: below it a channel of zeros would divide by nothing.
_EPSILON = 2**-12


def refuses(target: Device) -> str | None:
    """A sentence saying why int8 kernels of this kind cannot be had on the target, or None."""
    if target.device != "cpu":
        return "int8 kernels are CPU only"
    if target.dtype != "float32":
        return "int8 leaves nothing in half precision"
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"the x86 quantizer's kernels do not run on {platform.machine()}"
    if not torch.backends.mkldnn.is_available():
        return "this torch has no oneDNN, which holds the int8 kernels"
    if importlib.util.find_spec("torchao") is None:
        return "torchao is not installed (pip install optgauge[torchao])"
    return aot_build.missing()


def annotated(module: nn.Module, context: Context, observer: str, qat: bool = False) -> GraphModule:
    """`module` exported for any batch size, with observers (qat: fake quantisation) put in.

    Weights signed and per channel, activations unsigned and per tensor: what x86 multiplies.
    """
    from torchao.quantization.pt2e import quantize_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    module.eval()
    if qat:
        # The patterns are those of BatchNorm in train mode. Nothing else: random depth or dropout
        # written out in a model stay in the graph, and no switch of torchao's turns them off.
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.train()
    examples = aot_build.calls(module, context, (aot_build.TRACED, 3))
    # Not strict, resnets come out with partitions of several outputs, which the quantizer refuses.
    program = aot_build.export(module, examples[aot_build.TRACED], context, examples[3])
    quantizer = x86.X86InductorQuantizer().set_global(_config(observer, qat))
    prepare = quantize_pt2e.prepare_qat_pt2e if qat else quantize_pt2e.prepare_pt2e
    with quiet(*aot_build.CHATTER):
        return prepare(program.module(), quantizer)


def observe(graph: GraphModule, context: Context) -> int:
    """Run the calibration split through `graph`; returns how many samples there were."""
    samples = 0
    with torch.no_grad():
        for args, kwargs in context.calibration():
            graph(*args, **kwargs)
            samples += len(next(iter((*args, *kwargs.values()))))
    if not samples:
        raise ValueError(f"the calibration split of {context.model.full_name} is empty")
    return samples


def lower(graph: GraphModule, like: nn.Module, context: Context) -> AotPackage:
    """Convert what was observed to integers and compile it, for any batch size.

    Raises Refused where nothing was quantised.
    """
    from torchao.quantization.pt2e import quantize_pt2e

    batch = layer_noise.samples(context)
    exact = layer_noise.of_fx(graph, batch)
    with quiet(*aot_build.CHATTER):
        graph = quantize_pt2e.convert_pt2e(graph)
    layer_noise.note(context, exact, layer_noise.of_fx(graph, batch))
    layers = quantised(graph)
    if not layers:
        raise Refused(f"no Linear or convolution to quantise in {context.model.full_name}")
    context.notes["quantised"] = layers
    # Importing the quantizer has registered the passes that fuse int8 kernels in the compiler;
    # without them it compiles the dequantised arithmetic, in silence.
    importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    package = aot_build.build(graph, like, context, (ANY,), exact=False)
    package.details = {"quantised": layers}
    return package


def quantised(graph: GraphModule) -> int:
    """Layers of a converted graph whose weights are integers that are dequantised for them."""
    found = 0
    for node in graph.graph.nodes:
        name = str(node.target)
        if node.op != "call_function" or not name.startswith(("aten.conv", "aten.linear")):
            continue
        weight = node.args[1]
        found += isinstance(weight, torch.fx.Node) and "dequantize" in str(weight.target)
    return found


def _config(observer: str, qat: bool) -> Any:
    from torchao.quantization.pt2e import observer as observers
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config(is_qat=qat, reduce_range=saturates())
    if qat:
        return config
    kind = getattr(observers, OBSERVERS[observer])
    activation = dataclasses.replace(
        config.input_activation, observer_or_fake_quant_ctr=kind.with_args(eps=_EPSILON)
    )
    return dataclasses.replace(config, input_activation=activation, output_activation=activation)
