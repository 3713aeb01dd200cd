"""Weights and activations in int8, scales from the calibration split, computed by XNNPACK."""

from __future__ import annotations

import copy
import importlib.util

from torch import nn
from torch.fx import GraphModule

from optimizers import executorch_build, executorch_model, layer_noise, pt2e
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.executorch_model import ExecuTorchModel, silent
from optimizers.quiet import quiet
from zoo import Model


@register
class ExecuTorchInt8(Technique):
    """Post-training quantisation by ExecuTorch's quantiser for XNNPACK.

    Weights signed and a scale per output channel, activations signed and a scale per tensor:
    XNNPACK's qs8-qc8w kernels (Jacob et al., 2018).
    """

    name = "executorch_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("runtime", "integer_kernels")
    standard = ("mobilenet_v3_small",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.dtype != "float32":
            return "int8 leaves nothing in half precision"
        if importlib.util.find_spec("torchao") is None:
            return "torchao is not installed (pip install optgauge[edge])"
        return executorch_model.missing(target)

    def apply(self, module: nn.Module, context: Context) -> ExecuTorchModel:
        module.eval()
        graph = _annotated(copy.deepcopy(module), context)
        context.notes["samples"] = pt2e.observe(graph, context)
        graph = _converted(graph, context)
        return executorch_build.build(graph, module, context, exact=False)


def _annotated(module: nn.Module, context: Context) -> GraphModule:
    with silent():
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
        from torchao.quantization.pt2e import quantize_pt2e

    program = executorch_build.exported(module, module, context)
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    with quiet(*executorch_build.CHATTER):
        return quantize_pt2e.prepare_pt2e(
            program.module(), xnnpack.XNNPACKQuantizer().set_global(config)
        )


def _converted(graph: GraphModule, context: Context) -> GraphModule:
    """The graph with integers in it; the notes tell each layer's noise.

    Raises Refused where nothing was quantised.
    """
    from torchao.quantization.pt2e import quantize_pt2e

    batch = layer_noise.samples(context)
    exact = layer_noise.of_fx(graph, batch)
    with quiet(*executorch_build.CHATTER):
        graph = quantize_pt2e.convert_pt2e(graph)
    layer_noise.note(context, exact, layer_noise.of_fx(graph, batch))
    context.notes["quantised"] = pt2e.quantised(graph)
    if not context.notes["quantised"]:
        raise Refused(f"no Linear or convolution to quantise in {context.model.full_name}")
    return graph
