"""Weights in int8, activations quantised as they come, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from optimizers import layer_noise, onnx_model
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.onnx_export import check_like, export
from optimizers.onnx_model import OnnxModel
from optimizers.onnxruntime_int8 import quiet
from optimizers.saturation import saturates
from zoo import Model

_PRODUCTS = ("MatMul", "Gemm", "LSTM", "Attention")
_INTEGER = ("MatMulInteger", "DynamicQuantizeLSTM", "QAttention")


@register
class OnnxRuntimeDynamicInt8(Technique):
    """Matrix products and LSTMs, a scale a channel; needs no calibration.

    Convolutions are left alone: onnxruntime's ConvInteger is slower than its FP32 convolution.
    """

    name = "onnxruntime_dynamic_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("runtime", "integer_kernels")
    variants = ({"threads": "all"},)
    standard = ("lstm",)

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.device != "cpu":
            return "int8 kernels are CPU only"
        if target.dtype != "float32":
            return "int8 leaves nothing in half precision"
        return onnx_model.missing(target)

    def apply(self, module: nn.Module, context: Context) -> OnnxModel:
        exported = export(module, context)
        path = context.workdir / "int8" / "model.onnx"
        path.parent.mkdir()
        context.notes["layers"] = _quantise(exported, path, context)
        if not context.notes["layers"]:
            raise Refused(f"no Linear or LSTM layer to quantise in {context.model.full_name}")
        model = OnnxModel(path, exported.interface, context.target, threads=exported.threads)
        check_like(model, exported, module, context)
        return model


def _quantise(exported: OnnxModel, path: Path, context: Context) -> int:
    """Write the quantised file; returns how many operators in it compute in integers."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = len(exported.files()) > 1
    prepared = path.with_name("prepared.onnx")
    with quiet():
        # Its fusions turn Gemm into what dynamic quantisation knows.
        quant_pre_process(
            exported.path,
            prepared,
            skip_symbolic_shape=True,
            save_as_external_data=large,
            all_tensors_to_one_file=True,
            external_data_location=f"{prepared.name}.data",
        )
        quantization.quantize_dynamic(
            prepared,
            path,
            op_types_to_quantize=list(_PRODUCTS),
            per_channel=True,
            reduce_range=saturates(),
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=large,
        )
    layer_noise.note_graphs(context, exported, (prepared, path), ("MatMul", "Gemm"))
    for file in path.parent.glob(f"{prepared.name}*"):
        file.unlink()
    written = onnx.load(path, load_external_data=False).graph.node
    return sum(node.op_type in _INTEGER for node in written)
