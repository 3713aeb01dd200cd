"""Targets: a device and a number format each, one a file. Importing this does not import torch."""

from gauge.targets.base import Target, get, names, register

__all__ = ["Target", "get", "names", "register"]
