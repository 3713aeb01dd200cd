"""Weights and activations in int8 by torch.ao's FX mode, where torch still has it."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from optimizers import layer_noise, pt2e
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from optimizers.messages import first_line
from zoo import Model

_ENGINE = "x86"


@register
class StaticInt8Fx(Technique):
    """Static quantisation of the symbolically traced module, weights per channel."""

    name = "static_int8_fx"
    family = "quantization"
    changes = "numerics"
    claims = ("integer_kernels", "bn_unchanged")
    standard = ("resnet18",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cpu":
            return "int8 kernels are CPU only"
        if target.dtype != "float32":
            return "int8 leaves nothing in half precision"
        if _ENGINE not in torch.backends.quantized.supported_engines:
            return f"this torch has no quantised engine {_ENGINE}"
        if importlib.util.find_spec("torch.ao.quantization.quantize_fx") is None:
            return f"torch {torch.__version__} has no FX quantisation any more"
        return None

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        torch.backends.quantized.engine = _ENGINE
        # Observing in train mode would move the statistics of BatchNorm.
        module.eval()
        with _quiet():
            with _refusing(f"trace {context.model.full_name} for quantisation"):
                observed = _observed(module, context.model.example(2)[0])
            context.notes["whole_numbers"] = _whole_numbers(observed, context)
            _unobserve(observed, context.notes["whole_numbers"])
            context.notes["samples"] = pt2e.observe(observed, context)
            exact = copy.deepcopy(observed)
            with _refusing(f"convert {context.model.full_name} to integers"):
                converted = _converted(observed)
            layer_noise.note_modules(context, exact, converted)
        layers = sum(".quantized" in type(one).__module__ for one in converted.modules())
        if not layers:
            raise Refused(f"no layer to quantise in {context.model.full_name}")
        return EagerModule(converted)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        # Weights are packed for an engine; torch has one at a time.
        torch.backends.quantized.engine = _ENGINE
        with _quiet():
            # Without calibration: the scales come with the weights.
            observed = _observed(module.eval(), ())
            _unobserve(observed, notes.get("whole_numbers", []))
            return _converted(observed)


def _observed(module: nn.Module, example: tuple[Any, ...]) -> GraphModule:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    if not list(module.children()):
        # Layers are replaced in their parent: a module that is itself one needs a parent.
        module = nn.Sequential(module)
    prepared: GraphModule = prepare_fx(module, get_default_qconfig_mapping(_ENGINE), example)
    return prepared


class _Kinds(torch.fx.Interpreter):
    """Runs what is observed without observing; `whole`: nodes that are handed no floating point."""

    def __init__(self, observed: GraphModule) -> None:
        super().__init__(observed)
        self.whole: list[str] = []

    def run_node(self, n: torch.fx.Node) -> Any:
        if not _observes(n, self.module):
            return super().run_node(n)
        (given,), _ = self.fetch_args_kwargs_from_env(n)
        if not given.is_floating_point():
            self.whole.append(n.name)
        return given


def _observes(node: torch.fx.Node, module: nn.Module) -> bool:
    from torch.ao.quantization import ObserverBase

    return node.op == "call_module" and isinstance(
        module.get_submodule(str(node.target)), ObserverBase
    )


def _whole_numbers(observed: GraphModule, context: Context) -> list[str]:
    """Nodes that would observe what is not floating point (a mask), which observers cannot take."""
    kinds = _Kinds(observed)
    args, kwargs = next(context.calibration(1), context.model.example(1))
    with torch.no_grad():
        inputs = inspect.signature(observed.forward).bind(*args, **kwargs)
        inputs.apply_defaults()
        kinds.run(*inputs.arguments.values())
    return kinds.whole


def _unobserve(observed: GraphModule, names: list[str]) -> None:
    """Take these nodes out: what they would have seen is handed on as it is."""
    for node in list(observed.graph.nodes):
        if node.name in names:
            node.replace_all_uses_with(node.args[0])
            observed.graph.erase_node(node)
    observed.recompile()


def _converted(observed: GraphModule) -> nn.Module:
    from torch.ao.quantization.quantize_fx import convert_fx

    converted: nn.Module = convert_fx(observed)
    return converted


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """torch.fx has no common class for what it cannot do."""
    try:
        yield
    except Exception as error:
        raise Refused(f"torch.fx cannot {what}: {first_line(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch announces the end of this mode, and tells of observers that saw nothing in rebuild."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
