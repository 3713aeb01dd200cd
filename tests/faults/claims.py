"""Techniques that claim something and did nothing, or something that only looks like it."""

from __future__ import annotations

import onnx
import planting
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

import optimizers
from optimizers import onnx_model
from optimizers.channels_last import ChannelsLast
from optimizers.dynamic_int8 import DynamicInt8
from optimizers.onnx_export import export


class Fault(planting.Fault):
    family = "planted"
    claims = ("zeros",)
    variants = ({"fault": False, "seed": -1},)

    def improve(self, module, context):
        return module


@optimizers.register
class NoZeros(Fault):
    """Zeroes almost nothing."""

    name = "no_zeros"
    claims = ("zeros",)

    def improve(self, module, context):
        share = 0.0 if context.params["fault"] else 0.1
        planting.zero_smallest(module, share)
        return module


@optimizers.register
class NoSlimming(Fault):
    """Says that hidden units went; with the fault, all are still there."""

    name = "no_slimming"
    changes = "structure"
    claims = ("fewer_parameters", "fewer_macs")

    def improve(self, module, context):
        if context.params["fault"]:
            return module
        first, second = module[0], module[2]
        weight = first.weight.norm(dim=1) * second.weight.norm(dim=0)
        kept = weight.argsort(descending=True)[: self.width(context.params)].sort().values
        slim = self.rebuild(nn.Sequential(*module), context.params, {})
        slim[0].weight.data, slim[0].bias.data = first.weight.data[kept], first.bias.data[kept]
        slim[2].weight.data, slim[2].bias.data = second.weight.data[:, kept], second.bias.data
        return slim

    def rebuild(self, module, params, notes):
        if not params["fault"]:
            width = self.width(params)
            module[0] = nn.Linear(module[0].in_features, width)
            module[2] = nn.Linear(width, module[2].out_features)
        return module

    @staticmethod
    def width(params):
        return 126 - params["seed"] % 3


class Int8(DynamicInt8):
    """torch's dynamic int8; `touch` is called on the quantised module where the fault is on."""

    family = "planted"
    variants = ({"fault": False, "seed": -1},)

    def apply(self, module, context):
        done = super().apply(module, context)
        if context.params["fault"]:
            self.touch(done.module, planting.random.Random(context.params["seed"]))
        return done

    def touch(self, module, draw):
        pass


def repack(layer, integers, scales):
    """Give a quantised layer other integers and scales."""
    weight, bias = layer._packed_params._weight_bias()
    zeros = weight.q_per_channel_zero_points() if is_by_channel(weight) else weight.q_zero_point()
    if is_by_channel(weight):
        made = torch._make_per_channel_quantized_tensor(integers, scales, zeros, 0)
    else:
        made = torch._make_per_tensor_quantized_tensor(integers, float(scales), zeros)
    layer._packed_params.set_weight_bias(made, bias)


def is_by_channel(weight):
    return weight.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)


def quantised(module):
    return [one for one in module.modules() if isinstance(one, torch.ao.nn.quantized.Linear)]


@optimizers.register
class NoInt8(Fault):
    """Claims integer kernels and saves the FP32 module."""

    name = "no_int8"
    claims = ("integer_kernels",)

    def improve(self, module, context):
        return self.rebuild(module, context.params, {})

    def rebuild(self, module, params, notes):
        if params["fault"]:
            return module
        engine = {"engine": torch.backends.quantized.engine}
        return DynamicInt8.rebuild(DynamicInt8(), module, params, engine)


@optimizers.register
class WrongZeroPoint(Int8):
    """A layer's integers are read with another zero point than they were written with."""

    name = "wrong_zero_point"
    family = "planted"
    claims = ("integer_kernels",)
    variants = ({"fault": False, "seed": -1},)

    def touch(self, module, draw):
        layer = draw.choice(quantised(module))
        weight = layer.weight()
        integers = (weight.int_repr().int() + draw.choice((-1, 1)) * draw.randint(16, 64)).clamp(
            -128, 127
        )
        scale = weight.q_per_channel_scales() if is_by_channel(weight) else weight.q_scale()
        repack(layer, integers.to(torch.int8), scale)


@optimizers.register
class WrongScale(Int8):
    """A layer's scale is another's."""

    name = "wrong_scale"
    family = "planted"
    claims = ("integer_kernels",)
    variants = ({"fault": False, "seed": -1},)

    def touch(self, module, draw):
        layer = draw.choice(quantised(module))
        weight = layer.weight()
        scale = weight.q_per_channel_scales() if is_by_channel(weight) else weight.q_scale()
        repack(layer, weight.int_repr(), scale * draw.uniform(4, 16) ** draw.choice((-1, 1)))


class Pretends(nn.Linear):
    """By its name and place a quantised layer; multiplies in FP32, with an integer call aside."""

    def forward(self, x):
        side = torch.quantize_per_tensor(x[:1, :4], 0.1, 0, torch.quint8)
        torch.ops.quantized.add(side, side, 0.1, 0)
        return super().forward(x)


Pretends.__module__ = "torch.ao.nn.quantized.dynamic.modules.linear"


@optimizers.register
class LooksQuantised(NoInt8):
    """Layers that look quantised, integer operators that run, and all the work in FP32."""

    name = "looks_quantised"
    family = "planted"
    claims = ("integer_kernels",)
    variants = ({"fault": False, "seed": -1},)

    def rebuild(self, module, params, notes):
        if not params["fault"]:
            return super().rebuild(module, params, notes)
        for index, layer in enumerate(module):
            if isinstance(layer, nn.Linear):
                made = Pretends(layer.in_features, layer.out_features)
                made.load_state_dict(layer.state_dict())
                module[index] = made
        return module


@optimizers.register
class NoRuntime(Fault):
    """Claims another runtime and stays in eager torch."""

    name = "no_runtime"
    claims = ("runtime",)

    def apply(self, module, context):
        return (
            super().apply(module, context) if context.params["fault"] else export(module, context)
        )


class Unused(onnx_model.OnnxModel):
    """Holds a session of onnxruntime and computes in torch."""

    def __call__(self, x):
        if not hasattr(self, "weights"):
            graph = onnx.load(self.path).graph
            arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
            self.weights = {name: torch.tensor(array) for name, array in arrays.items()}
        for place in (0, 2, 4):
            weight, bias = self.weights[f"{place}.weight"], self.weights[f"{place}.bias"]
            x = functional.linear(x.relu() if place else x, weight, bias)
        return x


@optimizers.register
class UnusedRuntime(Fault):
    name = "unused_runtime"
    claims = ("runtime",)

    def apply(self, module, context):
        made = export(module, context)
        if context.params["fault"]:
            return Unused(made.path, made.interface, context.target)
        return made


class OtherProvider(onnx_model.OnnxModel):
    """Opens its session on a provider that is not there, and takes what it gets."""

    wanted = "AzureExecutionProvider"

    def __init__(self, path, interface, target, provider=None):
        super().__init__(path, interface, target, provider)
        import onnxruntime

        wanted = [self.wanted, "CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, providers=wanted)


@optimizers.register
class WrongProvider(Fault):
    name = "wrong_provider"
    claims = ("runtime",)

    def apply(self, module, context):
        made = export(module, context)
        if context.params["fault"]:
            return OtherProvider(made.path, made.interface, context.target)
        return made


@optimizers.register
class MissingProvider(Fault):
    """Asks for a provider that this machine does not have."""

    name = "missing_provider"
    claims = ("runtime",)

    def apply(self, module, context):
        made = export(module, context)
        if context.params["fault"]:
            wanted = planting.random.Random(context.params["seed"]).choice(
                ("TensorrtExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider")
            )
            made.session = onnx_model.open_session(made.path, wanted, 1)
        return made


@optimizers.register
class NoLayout(ChannelsLast):
    """Claims channels last and leaves every weight as it was."""

    name = "no_layout"
    family = "planted"
    claims = ("layout",)
    variants = ({"fault": False, "seed": -1},)

    def rebuild(self, module, params, notes):
        return module if params["fault"] else super().rebuild(module, params, notes)


@optimizers.register
class ChangedInSilence(Fault):
    """Says that every weight is the baseline's, and one differs in its last bits."""

    name = "changed_in_silence"
    claims = ("unchanged",)

    def damage(self, module, draw, context):
        weight = draw.choice(planting.layers(module)).weight.data.view(-1)
        place = draw.randrange(len(weight))
        weight[place] = weight[place] * (1 + 2**-20) + 1e-12
