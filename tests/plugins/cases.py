"""Small models with the shapes of real bug reports: what inputs and outputs may look like."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import optimizers
import zoo
from optimizers.eager import EagerModule

SAMPLES = {"train": 40, "calibration": 40, "evaluation": 400}


def rows(name: str, *shape: int) -> torch.Tensor:
    """Random inputs of a split, the same in every process."""
    generator = torch.Generator().manual_seed(list(SAMPLES).index(name))
    return torch.randn(SAMPLES[name], *shape, generator=generator)


class Case(zoo.Model):
    """A model without labels: it is judged by agreeing with its own FP32 answers."""

    evaluation_samples = 400

    def split(self, name: str) -> zoo.Split:
        return zoo.Split(inputs=(rows(name, 16),))

    def score(self, outputs: Any, split: zoo.Split, reference: Any) -> torch.Tensor:
        return (self.logits(outputs).argmax(1) == self.logits(reference).argmax(1)).float()

    def logits(self, outputs: Any) -> torch.Tensor:
        return outputs


class Heads(nn.Module):
    """One layer whose answer comes in another container."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 5)
        self.wrap = wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.layer(x))


@dataclass
class Answer:
    logits: torch.Tensor
    doubled: torch.Tensor


def as_dict(y: torch.Tensor) -> dict[str, Any]:
    return {"logits": y, "more": [y * 2, (y + 1,)]}


def as_tuple(y: torch.Tensor) -> tuple[Any, ...]:
    return y, (y * 2, [y + 1])


def as_dataclass(y: torch.Tensor) -> Answer:
    return Answer(y, y * 2)


@zoo.register
class DictOutput(Case):
    name = "dict_output"

    def build(self) -> nn.Module:
        return Heads(as_dict)

    def logits(self, outputs: Any) -> torch.Tensor:
        return outputs["logits"]


@zoo.register
class TupleOutput(Case):
    name = "tuple_output"

    def build(self) -> nn.Module:
        return Heads(as_tuple)

    def logits(self, outputs: Any) -> torch.Tensor:
        return outputs[0]


@zoo.register
class DataclassOutput(Case):
    name = "dataclass_output"

    def build(self) -> nn.Module:
        return Heads(as_dataclass)

    def logits(self, outputs: Any) -> torch.Tensor:
        return outputs.logits


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 5)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, unused: torch.Tensor | None = None
    ) -> torch.Tensor:
        kept = self.embedding(ids) * mask.unsqueeze(-1)
        return self.head(kept.sum(1) / mask.sum(1, keepdim=True))


@zoo.register
class SeveralInputs(Case):
    """Integer ids, a mask and an optional argument, by keyword."""

    name = "several_inputs"

    def build(self) -> nn.Module:
        return Embedded()

    def split(self, name: str) -> zoo.Split:
        ids = (rows(name, 7).abs() * 20).long() % 50
        mask = (rows(name, 7) > -1).float()
        mask[:, 0] = 1
        return zoo.Split(inputs={"ids": ids, "mask": mask})


class BakedBatch(nn.Module):
    """Reads the batch size as a number, which an exporter writes into the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).reshape(int(x.shape[0]), 5)


@zoo.register
class ReadsBatch(Case):
    name = "reads_batch"

    def build(self) -> nn.Module:
        return BakedBatch()


class Orthogonal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(self.layer(x).reshape(-1, 4, 4))[0].flatten(1)


@zoo.register
class NoExport(Case):
    name = "no_export"

    def build(self) -> nn.Module:
        return Orthogonal()


class Overflowing(nn.Module):
    """Finite in FP32; in FP16 the product is infinite and the norm of it NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(16, 8, bias=False)
        nn.init.constant_(self.wide.weight, 100.0)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.wide(x.abs() * 100 + 100))


@zoo.register
class OverflowsInHalf(Case):
    name = "overflows_in_half"

    def build(self) -> nn.Module:
        return Overflowing()


@zoo.register
class ConvolutionsOnly(Case):
    name = "convolutions_only"

    def build(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 5, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def split(self, name: str) -> zoo.Split:
        return zoo.Split(inputs=(rows(name, 3, 12, 12),))


@optimizers.register
class DynamicConvolutions(optimizers.Technique):
    """Asks dynamic quantisation for convolutions, which it silently leaves alone."""

    name = "dynamic_convolutions"
    family = "quantisation"
    claims = ("integer_kernels",)

    def apply(self, module: nn.Module, context: optimizers.Context) -> optimizers.Optimized:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its deprecation is not what this is about
            quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Conv2d}, torch.qint8)
        return EagerModule(quantised)


@zoo.register
class ExtremeFeature(Case):
    """One feature 3,000 times the others', and a weight as much smaller for it."""

    name = "extreme_feature"

    def build(self) -> nn.Module:
        layers = nn.Sequential(OrderedDict(steady=nn.Linear(16, 16), head=nn.Linear(16, 5)))
        with torch.no_grad():
            layers.steady.weight[0] *= 3000
            layers.steady.bias[0] *= 3000
            layers.head.weight[:, 0] /= 3000
        return layers


@zoo.register
class TinyLinear(Case):
    """Less arithmetic than any way of speeding it up costs."""

    name = "tiny_linear"

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(16, 64))
