"""Whether a module runs in half precision at all: by trying it, never from a list of versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from optimizers.base import Device, Refused
from zoo import Batch

_NAMES = {"float16": ("half", "float16"), "bfloat16": ("bfloat16",)}


def try_once(module: nn.Module, batch: Batch, target: Device) -> None:
    """Call `module`, placed on a half-precision target, once.

    Raises Refused naming the operator that has no kernel for the number format.
    """
    args, kwargs = target.cast(batch)
    names = _NAMES.get(target.dtype, ())
    with torch.no_grad(), _LastCall() as last:
        try:
            module(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except (NotImplementedError, RuntimeError) as error:
            lines = str(error).strip().splitlines()
            if not lines or not any(name in lines[0].lower() for name in names):
                raise
            raise Refused(
                f"{last.name} does not run in {target.dtype} on {target.device}: {lines[0]}"
            ) from error


class _LastCall(TorchFunctionMode):
    """Remembers the name of the last torch function that was called."""

    name = "the module"

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.name = torch.overrides.resolve_name(func) or getattr(func, "__name__", self.name)
        return func(*args, **(kwargs or {}))
