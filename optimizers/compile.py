"""torch.compile: inductor's code for every shape; the modes are techniques."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from optimizers.base import Context, Device, Technique, register
from optimizers.compiled import CompiledModule, compile_once, missing
from zoo import Model


class AutotunedModule(CompiledModule):
    """Matrix products and convolutions by the fastest of several kernels, tried at compile time."""

    mode = "max-autotune-no-cudagraphs"
    tolerance = 1e-4
    tolerance_reason = "autotuning may choose another kernel, which sums in another order"


class GraphedModule(CompiledModule):
    """Replayed as CUDA graphs, whose results lie where the next call writes: callers get copies."""

    mode = "reduce-overhead"

    def finished(self, result: Any) -> Any:
        if isinstance(result, torch.Tensor):
            return result.clone()
        return torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, result)


@register
class Compile(Technique):
    """The default mode; the artifact is the eager module's, compiled where it is loaded."""

    name = "compile"
    family = "compiler"
    changes = "numerics"
    claims = ("compiled",)
    lossless = True
    standard = ("vit",)
    compiles = True
    akin = ("aot_inductor",)

    def refuses(self, model: Model, target: Device) -> str | None:
        return missing(target)

    def apply(self, module: nn.Module, context: Context) -> CompiledModule:
        compiled = CompiledModule(module)
        compile_once(compiled, context)
        return compiled


@register
class CompileMaxAutotune(Technique):
    """Longer to build; pays where one matrix product or convolution dominates."""

    name = "compile_max_autotune"
    family = "compiler"
    changes = "numerics"
    claims = ("compiled",)
    lossless = True
    standard = ("digits_mlp",)
    compiles = True
    akin = ("aot_inductor", "compile")

    def refuses(self, model: Model, target: Device) -> str | None:
        return missing(target)

    def apply(self, module: nn.Module, context: Context) -> AutotunedModule:
        compiled = AutotunedModule(module)
        compile_once(compiled, context)
        return compiled


@register
class CudaGraphs(Technique):
    """One launch a call instead of one a kernel."""

    name = "cuda_graphs"
    family = "compiler"
    changes = "numerics"
    claims = ("compiled", "cuda_graphs")
    lossless = True
    standard = ("digits_mlp",)
    compiles = True

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cuda":
            return "CUDA graphs need a CUDA device"
        return missing(target)

    def apply(self, module: nn.Module, context: Context) -> GraphedModule:
        compiled = GraphedModule(module)
        compile_once(compiled, context)
        return compiled
