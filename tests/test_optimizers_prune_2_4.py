"""2:4 pruning as far as it goes without a GPU: the masks, the training, the files, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from optimizers_models import (
    LastRow,
    Rows,
    Small,
    apply,
    known,
    largest_difference,
    outputs,
    saved,
    small,
    target,
)
from torch import nn

import zoo
from gauge import evidence
from optimizers import Context, Refused, artifact, prune_2_4
from optimizers.prune_2_4 import Prune24, SparseModule


class Wide(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 4)
        )


class Taught(Small):
    def split(self, name: str) -> zoo.Split:
        return super().split("calibration" if name == "train" else name)


@dataclasses.dataclass
class Device:
    device: str
    dtype: str


def test_it_is_refused_on_the_cpu(monkeypatch, tmp_path):
    with pytest.raises(Refused, match="2:4 sparse kernels are CUDA only"):
        apply("prune_2_4", known("test_linear", monkeypatch), tmp_path)
    reason = Prune24().refuses(None, Device("cuda", "float32"))
    assert reason == "2:4 sparse kernels compute in half precision, not in float32"


def test_the_two_largest_of_four_stay():
    weight = torch.tensor([[1.0, -3.0, 2.0, 0.5, 0.0, 0.0, 0.0, -1.0]])
    mask = prune_2_4.largest_two(weight)
    assert mask[0, :4].tolist() == [False, True, True, False]
    assert mask[0, 7]
    assert mask.reshape(-1, 4).sum(1).tolist() == [2, 2]


@pytest.mark.parametrize("tune", [False, True])
def test_the_pattern_survives_training_and_the_file(tune, monkeypatch, tmp_path):
    model = known(small("wide", Taught, Wide), monkeypatch)
    torch.manual_seed(0)
    dense = model.build().eval()
    # The CPU stands in for the device: everything but the compression runs.
    monkeypatch.setattr(Prune24, "refuses", lambda *_: None)
    optimized, records = apply(f"prune_2_4:{str(tune).lower()}", model, tmp_path, module=dense)
    assert isinstance(optimized, SparseModule)
    assert records[0]["notes"]["layers"] == ["2"]
    weight = optimized.module[2].weight
    assert ((weight.reshape(-1, 4) != 0).sum(1) == 2).all()
    kept = dense[2].weight[weight != 0]
    assert torch.equal(weight[weight != 0], kept) == (not tune)
    assert (optimized.module[0].weight != 0).all()

    measured = outputs(optimized, model)
    folder = saved(optimized, tmp_path)
    reloaded = artifact.load(folder, target())
    assert reloaded.layers == ("2",)
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6
    subject = evidence.Subject(reloaded, dense, model.example(2), folder, target())
    told = evidence.count(["pattern_2_4"], subject)["pattern_2_4"]
    assert told["found"]
    assert "2 of 4 in 1 of 3 linear layers" in told["text"]


def test_what_has_no_such_layer_or_no_training_split_is_refused(tmp_path):
    model = small("rows", Rows, LastRow)
    for tune, message in ((False, "no linear layer of 32 by 64"), (True, "has no train split")):
        context = Context(model, target(), {"tune": tune}, 0, Path(tmp_path))
        with pytest.raises(Refused, match=message):
            Prune24().apply(model.build().eval(), context)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_the_sparse_kernel_runs(name, monkeypatch, tmp_path):
    model = known(small("wide", Taught, Wide), monkeypatch)
    torch.manual_seed(0)
    dense = model.build().eval()
    optimized, _ = apply("prune_2_4:false", model, tmp_path, name, module=dense)
    measured = outputs(optimized, model, name)
    folder = saved(optimized, tmp_path)
    reloaded = artifact.load(folder, target(name))
    assert largest_difference(outputs(reloaded, model, name), measured) <= 1e-5
    batch = target(name).cast(model.example(32))
    subject = evidence.Subject(reloaded, dense, batch, folder, target(name))
    told = evidence.count(Prune24.claims, subject)
    assert all(one["found"] for one in told.values()), told
