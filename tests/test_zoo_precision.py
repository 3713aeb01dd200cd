"""Steps in mixed precision: what they compute, what they skip, and what their trace tells."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from zoo import precision
from zoo.precision import Precision
from zoo.steps import pieces
from zoo.training import Recipe, fit

RECIPE = Recipe(epochs=1, rate=0.5, batch=20, momentum=0.9, decay=0.0)


def split(count: int = 40) -> zoo.Split:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.rand(count, 8, generator=generator)
    return zoo.Split(inputs=(inputs,), labels=torch.arange(count) % 3)


def trained(
    chosen: Precision, *last: nn.Module, count: int = 40
) -> tuple[nn.Module, precision.Trace]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3), *last)
    with precision.use(chosen) as trace:
        fit(module, split(count), RECIPE, seed=0)
    return module, trace


def apart(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((left - right).detach().abs().max()) for left, right in pairs)


def test_an_update_does_not_depend_on_the_scale_of_the_loss():
    """SGD, not Adam, which takes a gradient of any size alike and would hide a lost unscaling."""
    plain, _ = trained(Precision(torch.bfloat16))
    scaled, trace = trained(Precision(torch.bfloat16, scaled=True))
    untrained = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    assert trace.scale == 65536
    assert apart(plain, scaled) < 2e-3
    assert apart(plain, untrained) > 2e-2


def test_parts_of_a_batch_add_up_to_the_whole_batch():
    whole, one = trained(Precision())
    parts, four = trained(Precision(accumulate=3))
    assert apart(whole, parts) < 1e-6
    assert one.losses == pytest.approx(four.losses, rel=1e-5)


def test_mixed_precision_is_near_fp32_and_keeps_fp32_weights():
    full, _ = trained(Precision())
    mixed, trace = trained(Precision(torch.bfloat16))
    assert 0 < apart(full, mixed) < 0.02
    assert (trace.low, trace.layers) == (2, 2)
    assert {one.dtype for one in mixed.parameters()} == {torch.float32}


class Bursting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.register_hook(lambda gradient: gradient * float("inf"))
        return x


@pytest.mark.filterwarnings("error")
def test_steps_with_infinite_gradients_are_skipped_and_counted():
    module, trace = trained(Precision(torch.float16, scaled=True), Bursting())
    assert (trace.taken, len(trace.losses)) == (0, 2)
    assert trace.scale == 65536 / 4
    torch.manual_seed(0)
    before = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    assert apart(module, before) == 0


@pytest.mark.parametrize(
    ("count", "asked", "parts"),
    [(20, 1, 1), (20, 4, 4), (5, 4, 2), (3, 4, 1), (2, 4, 1), (1, 4, 1)],
)
def test_no_part_holds_a_single_sample(count, asked, parts):
    assert pieces(count, asked) == parts


def test_batchnorm_takes_parts_and_a_tail_of_one():
    module, trace = trained(Precision(torch.bfloat16, accumulate=16), nn.BatchNorm1d(3), count=41)
    assert trace.taken == 2
    assert all(torch.isfinite(one).all() for one in module.state_dict().values())


def test_a_training_stops_where_it_is_asked_and_leaves_its_step():
    _, trace = trained(Precision(most_steps=1))
    assert len(trace.losses) == trace.taken == 1
    assert trace.step is not None
    assert len(trace.batch[1]) == 20


def test_the_choice_ends_with_its_block():
    with pytest.raises(RuntimeError, match="inside"), precision.use(Precision(torch.bfloat16)):
        raise RuntimeError("inside")
    assert precision.current() == (Precision(), None)


def test_a_batch_in_no_part_is_refused():
    with pytest.raises(ValueError, match="at least one part"):
        Precision(accumulate=0)
