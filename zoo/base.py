"""What a model is: the plug-in class, its data splits, and the registry."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Batch = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of one call of a model."""


class Unavailable(Exception):
    """The model cannot be had here; the message is a sentence shown as it is."""


@dataclass(frozen=True)
class Split:
    """Samples of one split, first dimension = samples.

    inputs: positional arguments (tensors), or a dict of keyword arguments.
    labels: int64 tensor [n], or None where the score needs no label.
    groups: one id a sample, equal for samples that share a source (a photo, a template);
        None when every sample stands alone.
    """

    inputs: tuple[Tensor, ...] | dict[str, Tensor]
    labels: Tensor | None = None
    groups: Sequence[int] | None = None

    def __post_init__(self) -> None:
        lengths = {len(tensor) for tensor in self._tensors()}
        lengths |= {len(part) for part in (self.labels, self.groups) if part is not None}
        if len(lengths) != 1:
            raise ValueError(f"inputs, labels and groups of a split differ in length: {lengths}")

    def _tensors(self) -> list[Tensor]:
        return list(self.inputs.values() if isinstance(self.inputs, dict) else self.inputs)

    def __len__(self) -> int:
        return len(self._tensors()[0])

    def take(self, rows: slice | Tensor) -> Batch:
        """Copies of the named rows as call arguments (own storage: nothing else travels along)."""
        if isinstance(self.inputs, dict):
            return (), {name: tensor[rows].clone() for name, tensor in self.inputs.items()}
        return tuple(tensor[rows].clone() for tensor in self.inputs), {}

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, `size` a batch; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


class Model:
    """A model of the zoo; subclass it, give it a literal `name`, decorate with `@zoo.register`.

    A model has `train(module, seed)` (weights made on first use), or `load(module)` (pretrained
    weights, their SHA-256 pinned in the file), or neither (its `build()` returns it ready).
    """

    name: ClassVar[str] = ""
    variants: ClassVar[tuple[str, ...]] = ()
    """A family's members: each is a model of its own, named `name:variant`."""
    evaluation_samples: ClassVar[int | None] = None
    """How many samples the evaluation split has, so that a plan can tell what it can decide."""
    evaluation_groups: ClassVar[int | None] = None
    """How many groups they fall into; None where every sample stands alone."""

    variant: str | None = None

    @property
    def full_name(self) -> str:
        """The name a cell carries: `name`, or `name:variant` for a member of a family."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def refuses(self) -> str | None:
        """A sentence saying why this model cannot be had here (a package, a folder), or None."""
        return None

    def build(self) -> nn.Module:
        """The architecture, untrained; deterministic under torch.manual_seed."""
        raise NotImplementedError

    def split(self, name: str) -> Split:
        """Samples of "train", "calibration" or "evaluation"; the three share no sample or group.

        Raises Unavailable for a split that the model does not have.
        """
        raise NotImplementedError

    def example(self, batch: int) -> Batch:
        """Arguments of one call with `batch` rows, in the real dtypes and ranges."""
        split = self.split("evaluation")
        return split.take(torch.arange(batch) % len(split))

    def score(self, outputs: Any, split: Split, reference: Any) -> Tensor:
        """Per-sample score, float [n]: by default 1 where the largest output is the label.

        outputs: what the model returned for the whole split, batches joined along dimension 0.
        reference: the same of the FP32 baseline, for models without labels.
        """
        labels = split.labels if split.labels is not None else reference.argmax(1)
        return (outputs.argmax(1) == labels).float()

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Training inputs [n, ...], each changed at random in a way that its label bears.

        What is trained again for a model with one positional input learns from such inputs. By
        default they stay as they are.
        """
        return inputs

    def student(self) -> nn.Module | None:
        """A smaller architecture with the same inputs and outputs, for distillation."""
        return None


_registry: dict[str, Model] = {}


def register(model: type[Model]) -> type[Model]:
    """Class decorator: makes the model (each variant of a family) known by its name."""
    if not model.name:
        raise ValueError(f"model {model.__name__} has no name")
    for variant in model.variants or (None,):
        instance = model()
        instance.variant = variant
        known = _registry.get(instance.full_name)
        if known is not None:
            raise ValueError(
                f"model {instance.full_name!r} is registered twice: "
                f"{type(known).__module__} and {model.__module__}"
            )
        _registry[instance.full_name] = instance
    return model


def _load_all() -> None:
    import zoo

    for module in pkgutil.iter_modules(zoo.__path__):
        importlib.import_module(f"zoo.{module.name}")


def get(name: str) -> Model:
    """The model of that name; KeyError when there is none."""
    if name not in _registry:
        _load_all()
    return _registry[name]


def names() -> list[str]:
    """All registered names, sorted."""
    _load_all()
    return sorted(_registry)
