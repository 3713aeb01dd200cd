"""Weights too small for their number format: x86 computes with each of them in microcode.

One product with a subnormal number can take over a hundred cycles (Intel's optimisation manual,
"Denormals"), so a few per cent of them make a model slow and no metric shows why.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LAYOUTS = {
    torch.float16: (torch.int16, 0x7C00, 0x03FF),
    torch.bfloat16: (torch.int16, 0x7F80, 0x007F),
    torch.float32: (torch.int32, 0x7F80_0000, 0x007F_FFFF),
    torch.float64: (torch.int64, 0x7FF0_0000_0000_0000, 0x000F_FFFF_FFFF_FFFF),
}
"""An integer type of the same width, and the bits of exponent and mantissa."""


def count(module: nn.Module | None, directory: Path) -> dict[str, Any]:
    """Subnormal weights of an artifact: {"count", "of", "share", "note"}.

    Looked at are the floating-point parameters and buffers of an eager module, the initializers of
    the one ONNX file, or the constants of the one OpenVINO model in `directory`. Where there is
    none of these, the numbers are None and the note says so.
    """
    found = of = 0
    seen = False
    for tensor in _tensors(module, directory):
        seen = True
        if tensor.dtype in LAYOUTS:
            found, of = found + subnormal(tensor), of + tensor.numel()
    if not of:
        note = "it holds no floating-point weights" if seen else "its weights cannot be read"
        return {"count": None, "of": None, "share": None, "note": note}
    return {"count": found, "of": of, "share": found / of, "note": None}


def subnormal(tensor: Tensor) -> int:
    """How many values are nonzero and below the smallest normal number of their own type.

    Told by their bits (exponent zero, mantissa not): a runtime may have put this thread into the
    mode in which the processor compares subnormal numbers as zeros.
    """
    integer, exponent, mantissa = LAYOUTS[tensor.dtype]
    bits = tensor.detach().contiguous().view(integer)
    return int((((bits & exponent) == 0) & ((bits & mantissa) != 0)).sum())


def _tensors(module: nn.Module | None, directory: Path) -> Iterator[Tensor]:
    if module is not None:
        for tensor in (*module.parameters(), *module.buffers()):
            # Packed weights of other classes hold integers inside, which cannot be subnormal.
            if type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided:
                yield tensor
        return
    graphs, models = (sorted(directory.glob(kind)) for kind in ("*.onnx", "*.xml"))
    if len(graphs) == 1:
        yield from _initializers(graphs[0])
    elif len(models) == 1:
        yield from _constants(models[0])


def _initializers(path: Path) -> Iterator[Tensor]:
    import onnx
    from onnx import numpy_helper

    for one in onnx.load(path).graph.initializer:
        array = numpy_helper.to_array(one)
        if array.dtype.kind == "f" and array.dtype.itemsize > 1:
            yield torch.from_numpy(array.copy())


def _constants(path: Path) -> Iterator[Tensor]:
    import openvino

    for node in openvino.Core().read_model(path).get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().is_real():
            array = node.get_data()
            if array.dtype.kind == "f" and array.dtype.itemsize > 1:
                yield torch.from_numpy(array.copy())
