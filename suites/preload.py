"""What every worker needs, imported once in the fork server. Importing only: nothing computes."""

import importlib.util

import onnx  # noqa: F401
import onnxscript  # noqa: F401
import torch
import torch.onnx
import torchvision  # noqa: F401

import optimizers
import suites.jobs  # noqa: F401
import zoo

# Both are optional or chosen by an extra; what needs them refuses without them.
for _name in ("onnxruntime", "transformers"):
    if importlib.util.find_spec(_name):
        importlib.import_module(_name)

zoo.names()
optimizers.names()
if torch.cuda.is_initialized():
    raise RuntimeError("an import initialised CUDA in the fork server; its forks could not use it")
