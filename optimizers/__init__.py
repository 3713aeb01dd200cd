"""Optimisation techniques: one a file. They may use `zoo`, and nothing else of the project."""

from optimizers.base import Context, Optimized, Refused, Technique, get, names, register

__all__ = ["Context", "Optimized", "Refused", "Technique", "get", "names", "register"]
