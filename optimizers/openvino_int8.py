"""Weights and activations in int8 by NNCF, scales from the calibration split, run by OpenVINO."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from optimizers import openvino_model
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.onnx_export import check_like, export
from optimizers.onnx_model import OnnxModel
from optimizers.openvino_model import OpenVinoModel
from zoo import Batch, Model, Split

if TYPE_CHECKING:
    import openvino

_OF_TRANSFORMERS = frozenset(("MVN", "Softmax"))
# Their results lie mostly on one side of zero, where a symmetric scale wastes half of its steps.
_ASYMMETRIC = frozenset(("HSwish", "Swish", "Gelu", "Elu", "HSigmoid"))
_SAMPLES = 300
_VALIDATION = 256
_DROP = 0.01
_BATCH = 32


@register
class OpenVinoInt8(Technique):
    """Post-training quantisation with fast bias correction (NNCF's default).

    control: leave layers in FP32, the most harmful first, until the score on a cut of the training
    split drops by at most 0.01 (NNCF's accuracy control). threads: see optimizers.own_threads.
    """

    name = "openvino_int8"
    family = "quantization"
    changes = "numerics"
    claims = ("runtime", "integer_kernels")
    variants = ({"control": False, "threads": "all"}, {"control": True, "threads": "all"})
    sparing = ("control", True)
    standard = ("resnet18", "mobilenet_v3_small", "efficientnet_lite0")

    def refuses(self, model: Model, target: Device) -> str | None:
        if target.dtype != "float32":
            return "int8 leaves nothing in half precision"
        return openvino_model.missing(target, "nncf")

    def apply(self, module: nn.Module, context: Context) -> OpenVinoModel:
        exported = export(module, context)
        model = openvino_model.read(exported.path)
        model = _quantise(model, exported, context)
        # What is left in FP32 is to be computed in FP32.
        optimized = OpenVinoModel(
            model, exported.interface, context.target, "f32", exported.threads
        )
        check_like(optimized, exported, module, context)
        return optimized


def _quantise(model: openvino.Model, exported: OnnxModel, context: Context) -> openvino.Model:
    """Scales from the whole range that activations take, sample by sample.

    Note: NNCF's own choice, the mean over samples of each one's range, cuts off what is larger than
    usual: 13 dB at the output of an encoder with a padding mask, against 25 dB.
    """
    with _quiet():
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        samples = [exported.feeds(batch) for batch in context.calibration(1)][:_SAMPLES]
        settings: dict[str, Any] = {
            "preset": _preset(model),
            "model_type": nncf.ModelType.TRANSFORMER if _attends(model) else None,
            "subset_size": len(samples),
        }
        ranges = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        )
        if context.params["control"]:
            # SmoothQuant moves the size of activations into the weights behind them. What is put
            # back into FP32 gets its old weights, and its activations stay as they were made: of
            # minilm 13 % of the neighbours were left, with every layer in FP32 again.
            ranges.smooth_quant_alphas = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        context.notes["samples"] = len(samples)
        context.notes["preset"] = settings["preset"].value
        if not context.params["control"]:
            return nncf.quantize(
                model, nncf.Dataset(samples), advanced_parameters=ranges, **settings
            )
        validation = _Validation(exported, context)
        return nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(samples),
            nncf.Dataset(validation.rows),
            validation,
            max_drop=_DROP,
            advanced_quantization_parameters=ranges,
            **settings,
        )


def _kinds(model: openvino.Model) -> set[str]:
    return {node.get_type_name() for node in model.get_ordered_ops()}


def _attends(model: openvino.Model) -> bool:
    return bool(_kinds(model) & _OF_TRANSFORMERS)


def _preset(model: openvino.Model) -> Any:
    import nncf

    presets = nncf.QuantizationPreset
    skewed = _kinds(model) & (_ASYMMETRIC | _OF_TRANSFORMERS)
    return presets.MIXED if skewed else presets.PERFORMANCE


class _Validation:
    """The model's own score on rows of the training split, in NNCF's terms.

    Rows are spread evenly over the split. The evaluation split has no part in it: what decides
    which layers stay in FP32 cannot judge the result as well.
    """

    def __init__(self, exported: OnnxModel, context: Context) -> None:
        self.interface = exported.interface
        self.model = context.model
        self.split = context.train()
        count = min(_VALIDATION, len(self.split))
        self.rows = [round(row) for row in np.linspace(0, len(self.split) - 1, count)]
        context.notes["validation"] = count
        cut = self._cut(self.rows)
        with torch.no_grad():
            parts = [exported(*args, **kwargs) for args, kwargs in cut.batches(_BATCH)]
        self.reference = dict(zip(self.rows, _joined(parts), strict=True))

    def __call__(self, compiled: Any, rows: Iterable[int]) -> tuple[float, list[float]]:
        """(mean score, score by row) of a compiled model."""
        rows = list(rows)
        cut = self._cut(rows)
        parts = [self._outputs(compiled, batch) for batch in cut.batches(_BATCH)]
        reference = torch.stack([self.reference[row] for row in rows])
        scores = self.model.score(_joined(parts), cut, reference)
        return float(scores.mean()), scores.tolist()

    def _cut(self, rows: Sequence[int]) -> Split:
        chosen = torch.tensor(rows)
        labels = None if self.split.labels is None else self.split.labels[chosen]
        groups = None if self.split.groups is None else [self.split.groups[row] for row in rows]
        args, kwargs = self.split.take(chosen)
        return Split(kwargs or args, labels, groups)

    def _outputs(self, compiled: Any, batch: Batch) -> Any:
        args, kwargs = batch
        feeds = {name: one.numpy() for name, one in self.interface.feeds(args, kwargs).items()}
        found = compiled(feeds).to_tuple()
        return self.interface.outputs_from([torch.from_numpy(np.array(one)) for one in found])


def _joined(parts: Sequence[Any]) -> Any:
    """Batches of outputs as one; Refused for outputs that are not a single tensor."""
    if not all(isinstance(part, torch.Tensor) for part in parts):
        raise Refused("accuracy control needs a model whose output is one tensor")
    return torch.cat(list(parts))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice."""
    with openvino_model.unreported():
        import nncf  # noqa: F401 - it sets its logger's level
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
