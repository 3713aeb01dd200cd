"""The models that techniques are judged on, and the data they are judged by.

One model a file. `zoo` knows nothing of techniques, measuring or reports.
"""

from zoo.base import Batch, Model, Split, Unavailable, get, names, register

__all__ = ["Batch", "Model", "Split", "Unavailable", "get", "names", "register"]
