"""Optimisation techniques: one a file. They may use `zoo`, and nothing else of the project."""

from optimizers.base import Context, Optimized, Refused, Technique, get, names, register
from optimizers.eager import EagerModule
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
