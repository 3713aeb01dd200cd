"""Mixed-precision training: who is refused, and how steps compute on which device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import optimizers
import zoo
from zoo import precision
from zoo.precision import Precision
from zoo.training import Recipe, fit


def device(kind: str = "cpu", dtype: str = "float32", flags: tuple[str, ...] = ()):
    """What a technique asks of a target."""
    return SimpleNamespace(name=kind, device=kind, dtype=dtype, capabilities=lambda: list(flags))


def refusal(technique: str, target: SimpleNamespace, model: str = "digits_mlp") -> str | None:
    return optimizers.get(technique).refuses(zoo.get(model), target)


def test_bf16_is_refused_on_a_cpu_that_only_emulates_it():
    assert "no BF16 instructions" in refusal("amp_bf16", device(flags=("avx512f", "avx2")))
    assert refusal("amp_bf16", device(flags=("avx512_bf16",))) is None
    assert refusal("amp_bf16", device(flags=("amx_bf16",))) is None


def test_fp16_needs_nothing_of_a_cpu():
    assert refusal("amp_fp16", device()) is None


def test_fp16_is_refused_where_a_cpu_cannot_train_a_recurrent_layer_in_it():
    reason = refusal("amp_fp16", device(), "lstm")
    model = zoo.get("lstm")
    module = model.build()
    with precision.use(Precision(torch.float16, scaled=True, most_steps=1)):
        if reason is None:
            model.train(module, 0)
            return
        with pytest.raises(RuntimeError):
            model.train(module, 0)
    assert "no LSTM in FP16" in reason
    assert refusal("amp_fp16", device("cuda"), "lstm") is None


@pytest.mark.parametrize("technique", ["amp_bf16", "amp_fp16"])
def test_weights_that_are_not_fp32_or_not_trained_are_refused(technique):
    half = refusal(technique, device("cuda", "bfloat16"))
    assert "weights stay in FP32" in half
    assert "--target cuda" in half
    assert "it comes with its weights" in refusal(technique, device(), "efficientnet_lite0")


def test_fp16_is_scaled_and_stops_early_on_a_cpu_only():
    fp16, bf16 = optimizers.get("amp_fp16"), optimizers.get("amp_bf16")
    parts = {"accumulate": "4"}
    cpu, cuda = device("cpu"), device("cuda")
    assert fp16.precision(parts, cpu) == Precision(torch.float16, True, 4, most_steps=20)
    assert fp16.precision(parts, cuda) == Precision(torch.float16, True, 4, most_steps=None)
    assert bf16.precision(parts, cpu) == bf16.precision(parts, cuda)
    assert bf16.precision(parts, cuda) == Precision(torch.bfloat16, False, 4, most_steps=None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_in_fp16_with_a_scaled_loss():
    torch.manual_seed(0)
    module = zoo.get("digits_mlp").build().to("cuda")
    split = zoo.get("digits_mlp").split("train")
    with precision.use(Precision(torch.float16, scaled=True, accumulate=4)) as trace:
        fit(module, split, Recipe(epochs=2, rate=5e-3, batch=50), seed=0)
    assert next(module.parameters()).is_cuda
    assert trace.taken > 0.8 * len(trace.losses)
    assert (trace.low, trace.layers) == (3, 3)
    assert trace.scale >= 1
    assert trace.losses[-1] < trace.losses[0]
