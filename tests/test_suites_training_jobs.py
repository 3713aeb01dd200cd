"""Steps that GradScaler skips while it finds its scale: counted apart, and never timed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import zoo
from gauge import targets
from gauge.judge_training import judge_training_steps
from gauge.policy import Limit
from gauge.verdict import Status
from suites import training_jobs
from zoo.precision import Precision
from zoo.training import Recipe, fit

FP16 = {"dtype": torch.float16, "scaled": True}


class Steep(nn.Module):
    """Gradients come back so many times as large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * self.factor)
        return x


class Model(zoo.Model):
    name = "test_steep"

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3), Steep(self.factor))

    def split(self, name: str) -> zoo.Split:
        rows = torch.rand(40, 8, generator=torch.Generator().manual_seed(3))
        return zoo.Split((rows,), torch.arange(40) % 3)

    def train(self, module: nn.Module, seed: int) -> None:
        fit(module, self.split("train"), Recipe(epochs=20, rate=1e-4, batch=20), seed)


def trained(factor: float, **chosen):
    world = SimpleNamespace(model=Model(factor), target=targets.get("cpu"), seed=0)
    return training_jobs._train(world, Precision(**chosen))


def told(trace, settling):
    return {
        "seed": 0, "attempted": len(trace.losses), "taken": trace.taken, "settling": settling,
        "nonfinite_losses": 0, "nonfinite_weights": 0, "layers": 2, "low": 2,
        "dtype": "float16", "scaled": True, "scale": trace.scale,
    }  # fmt: skip


def test_a_healthy_training_whose_scale_settles_passes_and_one_that_only_skips_fails():
    _, trace, settling = trained(1000.0, **FP16, most_steps=20)
    assert settling >= 3
    # A batch with larger gradients may halve the scale once more.
    assert 10 <= trace.taken <= 20 - settling
    assert trace.scale == 65536 / 2 ** (20 - trace.taken)
    limit = Limit("training_steps", min=0.5)
    assert judge_training_steps([told(trace, settling)], limit).status is Status.PASS
    _, trace, settling = trained(float("inf"), **FP16, most_steps=20)
    assert (settling, trace.taken) == (20, 0)
    found = judge_training_steps([told(trace, settling)], limit)
    assert found.status is Status.FAIL
    assert "all 20 steps were skipped" in found.reason


@pytest.mark.parametrize("chosen", [{}, {"dtype": torch.bfloat16}, FP16])
def test_where_the_first_step_holds_nothing_settles(chosen):
    _, trace, settling = trained(1.0, **chosen, most_steps=3)
    assert (settling, trace.taken, len(trace.losses)) == (0, 3, 3)


def repeated(factor, **chosen):
    _, trace, _ = trained(factor, **chosen, most_steps=1)
    return training_jobs._Repeated(trace)


def test_the_step_that_is_timed_makes_its_update():
    step = repeated(1000.0, **FP16)
    assert step.step.taken == 0
    for _ in range(3):
        step(*step.batch)
    assert step.skipped() == "3 of 3 timed steps were skipped"
    step.hold(2)
    assert step.step.taken == 2
    for _ in range(3):
        step(*step.batch)
    assert step.skipped() is None
    assert step.step.taken == 5


@pytest.mark.parametrize("chosen", [{}, {"dtype": torch.bfloat16}])
def test_a_step_that_needs_no_scale_is_held_at_once(chosen):
    step = repeated(1.0, **chosen)
    step.hold(1)
    assert (step.step.taken, step.calls) == (1, 0)


def test_a_step_that_is_skipped_at_any_scale_is_not_measured():
    with pytest.raises(RuntimeError, match="every step was skipped"):
        repeated(float("inf"), **FP16).hold(1)
