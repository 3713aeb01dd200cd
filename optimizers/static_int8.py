"""Weights and activations in int8, scales from the calibration split, compiled by inductor."""

from __future__ import annotations

import copy

from torch import nn

from optimizers import pt2e
from optimizers.aot_package import AotPackage
from optimizers.base import Context, Device, Technique, register
from zoo import Model


@register
class StaticInt8(Technique):
    """Post-training quantisation (Jacob et al., 2018) of the exported graph.

    observer: how a range is taken from what was seen: "minmax" all of it, "histogram" the part
    that loses the least.
    """

    name = "static_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("integer_kernels", "runtime", "bn_unchanged")
    variants = ({"observer": "minmax"}, {"observer": "histogram"})
    standard = ("resnet18", "mobilenet_v3_small")
    compiles = True
    akin = ("aot_inductor",)
    quicker = 4.0  # a vector register holds so many more products
    costless = ("observer",)

    def refuses(self, model: Model, target: Device) -> str | None:
        return pt2e.refuses(target)

    def apply(self, module: nn.Module, context: Context) -> AotPackage:
        observer = context.params["observer"]
        if observer not in pt2e.OBSERVERS:
            raise ValueError(
                f"observer must be one of {', '.join(pt2e.OBSERVERS)}, found {observer!r}"
            )
        # In eval mode, whatever it came in: observing in train mode would move the statistics of
        # BatchNorm, which are part of the weights.
        module.eval()
        graph = pt2e.annotated(copy.deepcopy(module), context, observer)
        context.notes["samples"] = pt2e.observe(graph, context)
        return pt2e.lower(graph, module, context)
