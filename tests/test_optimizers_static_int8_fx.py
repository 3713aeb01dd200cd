"""FX quantisation of what is traced: convolutions called as functions, and whole numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from evidence_subjects import found
from optimizers_models import (
    Images,
    Small,
    apply,
    known,
    largest_difference,
    noise,
    outputs,
    saved,
    small,
    target,
)
from torch import nn
from torch.nn import functional

from optimizers import Refused, artifact
from optimizers.artifact import ArtifactError

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")


class Padded(nn.Conv2d):
    """Called as a function, as layers with a padding of their own are."""

    step: Any = (2, 2)

    def forward(self, rows):
        rows = functional.pad(rows, (1, 2, 1, 2))
        return functional.conv2d(
            rows, self.weight, self.bias, self.step, (0, 0), (1, 1), self.groups
        )


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Padded(3, 16, 4, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.deep = Padded(16, 16, 4, groups=16)
        self.one = nn.Conv2d(16, 8, 1)
        self.row = nn.Conv1d(8, 8, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, rows):
        rows = self.one(self.deep(self.stem(rows))).flatten(2)
        rows = functional.conv1d(rows, self.row.weight, self.row.bias, (1,), (1,), (1,), 1)
        return self.head(rows.mean(2))


def test_convolutions_called_as_functions_are_stored_and_counted(monkeypatch, tmp_path):
    model = known(small("test_functions", Images, Functions), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    made, _ = apply("static_int8_fx", model, tmp_path, module=module)
    folder = saved(made, tmp_path)
    assert noise(outputs(made, model), outputs(module, model)) < 0.05
    again = artifact.load(folder, target())
    assert largest_difference(outputs(again, model), outputs(made, model)) == 0
    (rows,), _ = model.example(2)
    holds, text, numbers = found("integer_kernels", again, module, rows, folder)
    assert holds, text
    assert (numbers["layers"], numbers["of"], numbers["share"]) == (5, 5, 1.0)


def test_what_torch_cannot_convert_is_refused_with_its_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(Padded, "step", 2)  # torch packs lists of numbers only.
    model = known(small("test_functions", Images, Functions), monkeypatch)
    with pytest.raises(
        Refused, match=r"cannot convert test_functions to integers: quantized::conv"
    ):
        apply("static_int8_fx", model, tmp_path)


class Masked(nn.Module):
    """Whole numbers beside the rows, of which some arithmetic is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, rows, mask):
        wide = mask.unsqueeze(1).transpose(1, 2)
        return self.head(functional.relu(self.body(rows)) * wide.mean(1, dtype=torch.float32))


class Masks(Small):
    architecture = Masked

    def inputs(self, generator, rows):
        return {
            "rows": torch.randn(rows, 8, generator=generator),
            "mask": torch.randint(0, 2, (rows, 5), generator=generator),
        }


def test_whole_numbers_are_not_observed_and_it_opens_again(monkeypatch, tmp_path):
    model = known(small("test_masks", Masks), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    made, (record,) = apply("static_int8_fx", model, tmp_path, module=module)
    assert record["notes"]["whole_numbers"]
    json.dumps(record)
    folder = saved(made, tmp_path)
    assert noise(outputs(made, model), outputs(module, model)) < 0.05
    again = artifact.load(folder, target())
    assert largest_difference(outputs(again, model), outputs(made, model)) == 0


def test_a_file_without_its_packed_weights_is_named(monkeypatch, tmp_path):
    model = known(small("test_functions", Images, Functions), monkeypatch)
    made, _ = apply("static_int8_fx", model, tmp_path)
    folder = saved(made, tmp_path)
    path = folder / "weights.pt"
    state = torch.load(path, weights_only=True)
    name = next(one for one in state if "packed_weight" in one)
    state[name] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ArtifactError, match=rf"{name} is a Tensor, not packed weights"):
        made.load(folder, target())
