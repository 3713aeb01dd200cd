"""Optimisation techniques: one a file. They may use `zoo`, and nothing else of the project."""

from typing import TYPE_CHECKING, Any

from optimizers.base import Context, Optimized, Refused, Technique, get, names, register
from optimizers.eager import EagerModule

if TYPE_CHECKING:
    from optimizers.onnx_model import OnnxModel

__all__ = [
    "Context",
    "EagerModule",
    "OnnxModel",
    "Optimized",
    "Refused",
    "Technique",
    "get",
    "names",
    "register",
]


def __getattr__(name: str) -> Any:
    """OnnxModel when it is asked for: what opens eager artifacts need not load ONNX."""
    if name != "OnnxModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from optimizers.onnx_model import OnnxModel

    return OnnxModel
