"""Targets: names, attributes, what they do to tensors and modules, and who is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from gauge import targets

NAMES = ["bf16", "bf16_cpu", "cpu", "cuda", "fp16", "fp16_cpu"]
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


def test_the_six_targets_are_found_without_torch():
    code = "import sys; from gauge import targets; print(targets.names(), 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(NAMES) <= set(eval(run.stdout.rsplit(" ", 1)[0]))
    assert run.stdout.split()[-1] == "False"


@pytest.mark.parametrize("name", NAMES)
def test_every_target_names_a_baseline_in_fp32_on_its_own_device_and_a_cpu_twin(name):
    target = targets.get(name)
    baseline = targets.get(target.baseline)
    assert (baseline.device, baseline.dtype) == (target.device, "float32")
    if target.device != "cpu":
        twin = targets.get(target.cpu_twin)
        assert (twin.device, twin.dtype) == ("cpu", target.dtype)


@pytest.mark.parametrize("name", ["cpu", "fp16_cpu", "bf16_cpu"])
def test_cast_changes_floating_point_tensors_only(name):
    target = targets.get(name)
    dtype = getattr(torch, target.dtype)
    ids = torch.arange(3)
    (values, same, text), kwargs = target.cast(((torch.ones(2), ids, "x"), {"mask": ids > 1}))
    assert values.dtype == dtype
    assert same.dtype == torch.int64
    assert kwargs["mask"].dtype == torch.bool
    assert text == "x"


@pytest.mark.parametrize("name", ["cpu", "fp16_cpu", "bf16_cpu"])
def test_place_casts_weights_and_keeps_integer_buffers(name):
    target = targets.get(name)
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    placed = target.place(module)
    assert placed[0].weight.dtype == getattr(torch, target.dtype)
    assert placed[1].num_batches_tracked.dtype == torch.int64
    args, kwargs = target.cast(((torch.ones(1, 1, 2, 2),), {}))
    assert placed.eval()(*args, **kwargs).dtype == getattr(torch, target.dtype)


def test_cpu_targets_are_never_missing_and_tell_their_flags():
    for name in ("cpu", "fp16_cpu", "bf16_cpu"):
        assert targets.get(name).missing() is None
        assert set(targets.get(name).capabilities()) == set(targets.get("cpu").capabilities())


@no_cuda
@pytest.mark.parametrize("name", ["cuda", "fp16", "bf16"])
def test_without_cuda_the_reason_is_a_sentence(name):
    assert "CUDA" in targets.get(name).missing()


def test_the_stopwatch_tells_seconds():
    stop = targets.get("cpu").stopwatch()()
    assert 0 <= stop() <= stop() < 60


def test_registering_a_name_twice_names_both_modules():
    class Again(targets.Target):
        name = "cpu"

    with pytest.raises(ValueError, match=r"'cpu' is registered twice: gauge\.targets\.cpu and "):
        targets.register(Again)


def test_a_target_without_a_name_is_refused():
    with pytest.raises(ValueError, match="has no name"):
        targets.register(type("Nameless", (targets.Target,), {}))


def test_a_new_device_is_one_class(monkeypatch):
    from gauge.targets import base

    monkeypatch.setattr(base, "_registry", dict(base._registry))

    @targets.register
    class Meta(targets.Target):
        name = "meta"
        device = "meta"
        baseline = "meta"

    assert "meta" in targets.names()
    target = targets.get("meta")
    (values,), _ = target.cast(((torch.ones(2),), {}))
    assert values.device.type == "meta"
    assert target.place(nn.Linear(1, 1)).weight.device.type == "meta"


def test_an_unknown_target_is_a_key_error():
    with pytest.raises(KeyError):
        targets.get("tpu")
