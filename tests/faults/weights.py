"""Faults in the weights: the artifact holds them, and every claim is true all the same."""

from __future__ import annotations

import planting
import torch

import optimizers
import zoo


class Fault(planting.Fault):
    family = "planted"
    claims = ("zeros",)
    variants = ({"fault": False, "seed": -1},)


@optimizers.register
class ScaledLayer(Fault):
    """One layer's weights are a few times too large or too small."""

    name = "scaled_layer"

    def damage(self, module, draw, context):
        factor = draw.uniform(4, 30) ** draw.choice((-1, 1))
        draw.choice(planting.layers(module)).weight.data *= factor


@optimizers.register
class ScaledChannel(Fault):
    """One class's weights lost their scale."""

    name = "scaled_channel"

    def damage(self, module, draw, context):
        weight = planting.layers(module)[-1].weight.data
        weight[draw.randrange(len(weight))] *= draw.uniform(6, 40)


@optimizers.register
class SignLost(Fault):
    """Part of a layer's weights without their sign, as unsigned storage leaves them."""

    name = "sign_lost"

    def damage(self, module, draw, context):
        weight = draw.choice(planting.layers(module)).weight.data
        start = draw.randrange(len(weight) // 2)
        weight[start : start + len(weight) // 2].abs_()


@optimizers.register
class BiasDropped(Fault):
    """An export without biases, of weights whose scale they matter to."""

    name = "bias_dropped"

    def improve(self, module, context):
        # Biases that matter: every hidden unit's input is shifted, and its bias takes it back.
        module = super().improve(module, context)
        first, second = planting.layers(module)[:2]
        shift = context.params["seed"] % 3 + 1.0
        first.bias.data += shift
        module[1] = torch.nn.Threshold(shift, shift)
        second.bias.data -= shift * second.weight.data.sum(1)
        return module

    def damage(self, module, draw, context):
        draw.choice(planting.layers(module)[:2]).bias.data.zero_()

    def rebuild(self, module, params, notes):
        shift = params["seed"] % 3 + 1.0
        module[1] = torch.nn.Threshold(shift, shift)
        return module


@optimizers.register
class ClassesPermuted(Fault):
    """Two to five classes change places."""

    name = "classes_permuted"

    def damage(self, module, draw, context):
        head = planting.layers(module)[-1]
        chosen = draw.sample(range(len(head.weight)), draw.randint(2, 5))
        for tensor in (head.weight.data, head.bias.data):
            tensor[chosen] = tensor[chosen[1:] + chosen[:1]].clone()


@optimizers.register
class Denormal(Fault):
    """A layer scaled down to subnormal numbers, of which a bit is left, and up again later."""

    name = "denormal"

    def damage(self, module, draw, context):
        first, second, third = planting.layers(module)[:3]
        power = draw.randint(148, 149)
        for tensor in (first.weight.data, first.bias.data):
            tensor.mul_(2.0**-100).mul_(2.0 ** (100 - power))
        second.bias.data.mul_(2.0 ** -(power - 90))
        second.weight.data.mul_(2.0**90)
        third.weight.data.mul_(2.0 ** (power - 90))


@optimizers.register
class Coarse(Fault):
    """All weights rounded to three to five levels where the technique means 255."""

    name = "coarse"

    def improve(self, module, context):
        module = super().improve(module, context)
        self.round(module, 127)
        return module

    def damage(self, module, draw, context):
        self.round(module, draw.choice((1, 1, 2)))

    @staticmethod
    def round(module, half):
        for layer in planting.layers(module):
            step = layer.weight.data.abs().max() / half
            layer.weight.data = (layer.weight.data / step).round() * step


@optimizers.register
class Untrained(Fault):
    """Saves a module that was built and never filled with the trained weights."""

    name = "untrained"

    def damage(self, module, draw, context):
        torch.manual_seed(draw.randrange(1000))
        fresh = zoo.get(context.model.full_name).build().eval()
        planting.zero_smallest(fresh)
        return fresh


@optimizers.register
class NanWeight(Fault):
    """One weight is not a number, or infinite."""

    name = "nan_weight"

    def damage(self, module, draw, context):
        weight = draw.choice(planting.layers(module)).weight.data
        weight.view(-1)[draw.randrange(weight.numel())] = draw.choice((torch.nan, torch.inf))


@optimizers.register
class HalfEmpty(Fault):
    """Zeroes most weights of a layer where a tenth was meant."""

    name = "half_empty"

    def damage(self, module, draw, context):
        weight = draw.choice(planting.layers(module)).weight.data
        level = weight.abs().flatten().kthvalue(int(draw.uniform(0.93, 0.99) * weight.numel()))
        weight[weight.abs() <= level.values] = 0.0
