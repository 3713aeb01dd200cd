"""What must hold of a model before anything is told against it; holds for candidates as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gauge import outputs as values
from gauge.outputs import Batch, Difference

_TRAINED_DIFFERENTLY = (
    nn.modules.dropout._DropoutNd,
    nn.modules.batchnorm._NormBase,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RReLU,
)


class BaselineProblem(Exception):
    """The model cannot be compared with anything; the message says why, a line a problem."""


def check(call: Callable[..., Any], batch: Batch, module: nn.Module | None = None) -> None:
    """Raise BaselineProblem when `find_problems` finds one."""
    problems = find_problems(call, batch, module)
    if problems:
        raise BaselineProblem("\n".join(problems))


def find_problems(
    call: Callable[..., Any], batch: Batch, module: nn.Module | None = None
) -> list[str]:
    """Sentences for what makes results of `call` meaningless; none is how it should be.

    Looks for outputs that are not finite, inputs that are changed, identical calls that differ
    (random numbers told apart from kept state), buffers that a call changes, and layers left in
    training mode. `batch` itself is never handed out: each call gets fresh clones.

    call: a module, or anything called like one. module: what to look into; by default `call`
    itself or its attribute `module`.
    """
    if module is None:
        module = call if isinstance(call, nn.Module) else getattr(call, "module", None)
    problems = _training_problems(module)
    buffers = _buffers(module)
    first, changed = _call(call, batch, seed=0)
    problems += _buffer_problems(buffers, _buffers(module))
    problems += [f"changes its input: {path} differs after a call" for path in changed]
    bad, total = values.nonfinite(first)
    if bad:
        return [*problems, _nonfinite_problem(bad, total, module, batch)]
    second, _ = _call(call, batch, seed=1)
    difference = values.compare(first, second)
    if not difference.within(_rounding(first)):
        problems.append(_repeat_problem(difference, call, batch, first))
    return problems


def _call(call: Callable[..., Any], batch: Batch, seed: int) -> tuple[Any, list[str]]:
    """Outputs (own copies), and the paths of the inputs that the call changed."""
    args, kwargs = given = values.fresh(batch)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        # A clone, as a model may return a buffer that its next call overwrites.
        result = values.fresh(call(*args, **kwargs))
    before, after = _inputs(batch), _inputs(given)
    return result, [path for path in before if not _same(before[path], after[path])]


def _inputs(batch: Batch) -> dict[str, Tensor]:
    """The tensors of a call by a name a person knows them by."""
    args, kwargs = batch
    named = {f"argument {index}": arg for index, arg in enumerate(args)} | kwargs
    tensors = {}
    for name, value in named.items():
        for path, leaf in values.leaves(value, name):
            if isinstance(leaf, Tensor):
                tensors[path] = leaf
    return tensors


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, all NaN being one."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _rounding(outputs: Any) -> float:
    """What two runs of the same arithmetic may differ by: sums on a GPU have no fixed order."""
    floats = [tensor for tensor in values.flatten(outputs).values() if tensor.is_floating_point()]
    return max([1e-6, *(2 * torch.finfo(tensor.dtype).eps for tensor in floats)])


def _repeat_problem(
    difference: Difference, call: Callable[..., Any], batch: Batch, first: Any
) -> str:
    """Random numbers or kept state: with the first call's seed, random numbers repeat."""
    what = difference.problem or f"{difference.relative:.2g} of the largest value"
    where = f" ({difference.path})" if difference.path else ""
    again = [_call(call, batch, seed=0)[0] for _ in range(2)]
    if all(values.compare(first, other).within(_rounding(first)) for other in again):
        return (
            f"not deterministic: two identical calls differ by {what}{where}, "
            "and agree when torch's random numbers repeat"
        )
    return f"stateful: two identical calls differ by {what}{where}"


def _nonfinite_problem(bad: int, total: int, module: nn.Module | None, batch: Batch) -> str:
    layer = values.first_nonfinite_layer(module, batch) if module is not None else None
    where = f", first after {layer}" if layer else ""
    return f"not finite: {bad} of {total} output values are NaN or infinite{where}"


def _training_problems(module: nn.Module | None) -> list[str]:
    if module is None:
        return []
    left = [
        name or type(layer).__name__
        for name, layer in module.named_modules()
        if layer.training and isinstance(layer, _TRAINED_DIFFERENTLY)
    ]
    if not left:
        return []
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return [f"in training mode: {left[0]}{more}; call eval() first"]


def _buffers(module: nn.Module | None) -> dict[str, Tensor]:
    if module is None:
        return {}
    return {name: buffer.detach().clone() for name, buffer in module.named_buffers()}


def _buffer_problems(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    changed = [name for name in before if name in after and not _same(before[name], after[name])]
    if not changed:
        return []
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return [f"stateful: a call changes the buffer {changed[0]}{more}"]
