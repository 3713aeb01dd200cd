"""An eager module that torch.compile compiles where it is loaded, once for every shape."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import aot_build
from optimizers.base import Context, Device, Refused
from optimizers.eager import EagerModule

_PER_SHAPE = 8


class CompiledModule(EagerModule):
    """The weights of an eager module; compiled at its first call with a shape.

    compiled: what runs. build_seconds: what compiling took in this process, by shape.

    Note: a graph for each shape, never a dynamic one: oneDNN packs weights for sizes it knows.
    Calls run in inference mode, so that none is guarded against another grad mode. Weights are
    not frozen into the graph: inductor keeps no frozen one, and every process would compile for a
    quarter of a minute a shape. `aot_inductor` has them frozen.
    """

    mode = "default"
    ends = True

    def __init__(self, module: nn.Module, model: str = "", stages: Any = ()) -> None:
        super().__init__(module, model, stages)
        self.build_seconds: dict[str, float] = {}
        self._shapes: set[Any] = set()
        self._call: Any = None

    @property
    def compiled(self) -> Any:
        if self._call is None:
            self._call = torch.compile(self.module, dynamic=False, mode=self.mode)
        return self._call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        shapes = tuple(_shapes((*args, *kwargs.items())))
        with torch.inference_mode():
            if shapes in self._shapes:
                return self.finished(self._call(*args, **kwargs))
            return self.finished(self._build(shapes, args, kwargs))

    def finished(self, result: Any) -> Any:
        """What the caller gets of a call's result."""
        return result

    def place(self, target: Device) -> None:
        moved = self.target is None or self.target.name != target.name
        super().place(target)
        if moved:
            self._call = None
            self._shapes.clear()

    def _build(self, shapes: Any, args: Any, kwargs: Any) -> Any:
        """The first call with these shapes, which compiles; every later one finds the graph."""
        import torch._dynamo.config

        self._shapes.add(shapes)
        began = time.perf_counter()
        # All shapes share one code object: beyond the limit dynamo would run them eagerly.
        limit = _PER_SHAPE * (1 + len(self._shapes))
        with torch._dynamo.config.patch(recompile_limit=limit, accumulated_recompile_limit=256):
            result = self.compiled(*args, **kwargs)
        self.build_seconds[str(shapes)] = round(time.perf_counter() - began, 3)
        return result


def _shapes(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, Tensor):
            yield tuple(value.shape)
        elif isinstance(value, tuple | list):
            yield from _shapes(value)


def missing(target: Device) -> str | None:
    """A sentence saying why inductor cannot build code for this target here, or None."""
    if target.device == "cpu":
        return aot_build.missing()
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed, and torch.compile needs it on a GPU (pip install triton)"
    return None


def compile_once(compiled: CompiledModule, context: Context) -> None:
    """Compile for batch 1 and tell what it took in the context's notes.

    Raises Refused for a module that dynamo or inductor cannot compile.
    """
    import torch._dynamo.config
    from torch._dynamo import exc

    recurrent = [one for one in compiled.module.modules() if isinstance(one, nn.RNNBase)]
    if recurrent and not getattr(torch._dynamo.config, "allow_rnn", True):
        kind = type(recurrent[0]).__name__
        raise Refused(f"torch.compile leaves {kind} layers, and what calls them, to eager torch")
    compiled.place(context.target)
    args, kwargs = context.target.cast(context.model.example(1))
    try:
        compiled(*args, **kwargs)
    except exc.TorchDynamoException as error:
        text = str(error).strip().splitlines()
        sentence = f"torch.compile does not compile {context.model.full_name}: {text[0]}"
        raise Refused(sentence) from error
    context.notes["build_seconds"] = sum(compiled.build_seconds.values())
