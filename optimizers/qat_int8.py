"""int8 with fine-tuning that feels the rounding: quantisation-aware training, then as static."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from optimizers import pt2e
from optimizers.aot_package import AotPackage
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.finetune import finetune, holdout
from optimizers.structure import flatten
from zoo import Model, Split, Unavailable

_HELD = 0.1
"""Share of the training split that chooses between epochs; none of it is trained on."""

_EPOCHS = 2
_RATE = 3e-5
"""Of the first epoch: the weights are trained already, and larger rates lost what they knew."""

_BATCH = 64
_EPSILON = 1e-5
_SAME = 1e-6


@register
class QatInt8(Technique):
    """Quantisation-aware training (Jacob et al., 2018) from the trained weights and good ranges.

    The FP32 model teaches: what is wanted is its own answers. Each epoch has a learning rate a
    third of the one before; the one that is best on samples held out of the training split is kept.
    """

    name = "qat_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("integer_kernels", "runtime", "trained_quantised")
    standard = ("mobilenet_v3_small",)
    compiles = True
    akin = ("aot_inductor",)
    quicker = 4.0
    rescues = ("static_int8",)

    def refuses(self, model: Model, target: Device) -> str | None:
        try:
            model.split("train")
        except Unavailable as reason:
            return f"{model.full_name} has no train split: {reason}"
        return pt2e.refuses(target)

    def apply(self, module: nn.Module, context: Context) -> AotPackage:
        module.eval()
        trained, held = holdout(context.train(), _HELD, context.seed)
        graph = pt2e.annotated(_same_epsilon(module), context, "minmax", qat=True)
        _to_eval(graph)
        _check_exact(graph, module, held, context)
        context.notes["samples"] = _set_ranges(graph, context)
        _train(graph, module, context, trained, held)
        package = pt2e.lower(graph, module, context)
        package.details["fake_quant"] = context.notes["fake_quant"]
        return package


def _same_epsilon(module: nn.Module) -> nn.Module:
    """A copy whose BatchNorms compute the same with the epsilon that torchao's patterns have.

    torchao 0.18 puts 1e-5 in place of whatever a BatchNorm has: mobilenet_v3_small, made with
    1e-3, gave outputs 2 % off (in power) before any rounding.
    """
    module = copy.deepcopy(module)
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None:
            norm.running_var += norm.eps - _EPSILON
            norm.eps = _EPSILON
    return module


def _check_exact(graph: GraphModule, module: nn.Module, held: Split, context: Context) -> None:
    """Before any rounding the graph must be the module: what it loses here, no training finds."""
    from torchao.quantization.pt2e import (
        disable_fake_quant,
        disable_observer,
        enable_fake_quant,
        enable_observer,
    )

    graph.apply(disable_fake_quant)
    graph.apply(disable_observer)
    error = _error(graph, module, held)
    graph.apply(enable_observer)
    graph.apply(enable_fake_quant)
    if not error <= _SAME:
        raise Refused(
            f"the graph that torchao trains computes something else than {context.model.full_name}:"
            f" {error:.1e} of its outputs' power, before any rounding"
        )


def _train(
    graph: GraphModule, teacher: nn.Module, context: Context, trained: Split, held: Split
) -> None:
    """Train `graph` in place, and leave it as it was after its best epoch."""
    fakes = fake_quants(graph)
    active: list[int] = []

    def count() -> None:
        active.append(sum(int(one.fake_quant_enabled.item()) for one in fakes))

    errors = [_error(graph, teacher, held)]
    best: dict[str, Tensor] = {}
    for epoch in range(_EPOCHS):
        finetune(
            graph,
            context,
            epochs=1,
            learning_rate=_RATE / 3**epoch,
            teacher=teacher,
            alpha=1.0,
            batch=_BATCH,
            trained=count,
            # BatchNorm keeps its statistics: those of a batch of 64 lose more than the rounding.
            modes=(partial(_to_eval, graph), partial(_to_eval, graph)),
            split=trained,
        )
        errors.append(_error(graph, teacher, held))
        if errors[-1] <= min(errors[1:]):
            best = copy.deepcopy(graph.state_dict())
    graph.load_state_dict(best)
    context.notes["held_error"] = errors
    context.notes["fake_quant"] = {"modules": len(fakes), "active": min(active)}


def _error(graph: GraphModule, teacher: nn.Module, split: Split) -> float:
    """Squared difference from the teacher's float outputs, as a share of their power."""
    wrong = power = 0.0
    with torch.no_grad():
        for args, kwargs in split.batches(_BATCH):
            ours = flatten(graph(*args, **kwargs))[1]
            theirs = flatten(teacher(*args, **kwargs))[1]
            for a, b in zip(ours, theirs, strict=True):
                if b.is_floating_point():
                    wrong += float((a - b).double().square().sum())
                    power += float(b.double().square().sum())
    if not power:
        raise Refused("the model has no float outputs to train towards")
    return wrong / power


def _set_ranges(graph: GraphModule, context: Context) -> int:
    """Give activations the range of the whole calibration split, for good; returns its samples.

    The training starts where static quantisation ends, and what it can lose by ranges that drift
    (a moving average of batches clips what is rare) it does not. Weights are followed exactly.
    """
    from torchao.quantization.pt2e import disable_fake_quant, enable_fake_quant

    fakes = fake_quants(graph)
    for fake in fakes:
        # Of the batch alone, instead of a moving average that forgets in hundreds of batches.
        fake.activation_post_process.averaging_constant = 1.0
    # After each call, not each batch: operators that hand values on (pooling) share one module.
    seen: dict[Any, tuple[Tensor, Tensor]] = {}

    def keep(fake: Any, *_: Any) -> None:
        low, high = seen.get(fake, (fake.activation_post_process.min_val,) * 2)
        seen[fake] = (
            torch.minimum(low, fake.activation_post_process.min_val),
            torch.maximum(high, fake.activation_post_process.max_val),
        )

    hooks = [fake.register_forward_hook(keep) for fake in fakes]
    # The arithmetic stays exact while ranges are looked for.
    graph.apply(disable_fake_quant)
    samples = pt2e.observe(graph, context)
    graph.apply(enable_fake_quant)
    for hook in hooks:
        hook.remove()
    for fake, (low, high) in seen.items():
        if not fake.is_per_channel:
            fake.activation_post_process.min_val.copy_(low)
            fake.activation_post_process.max_val.copy_(high)
            scale, point = fake.calculate_qparams()
            fake.scale.copy_(scale)
            fake.zero_point.copy_(point)
            fake.disable_observer()
    return samples


def fake_quants(graph: GraphModule) -> list[Any]:
    """The modules that round: activations per tensor, weights per channel."""
    found = {id(one): one for one in graph.modules() if hasattr(one, "fake_quant_enabled")}
    return list(found.values())


def _to_eval(graph: GraphModule) -> None:
    """Of exported graphs, `.eval()` raises: torchao swaps the operators instead."""
    from torchao.quantization.pt2e import move_exported_model_to_eval

    move_exported_model_to_eval(graph)
