"""Training: seeded, repeatable to the last bit, and good enough to judge techniques by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.training import Recipe, fit, one_cycle, order


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(model: zoo.Model, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return model.build()


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def small(name: str, count: int) -> zoo.Split:
    """Some samples of the calibration split, to train on for a moment."""
    split = zoo.get(name).split("calibration")
    args, _ = split.take(slice(count))
    return zoo.Split(inputs=args, labels=split.labels[:count])


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [(101, 50, [50, 51]), (100, 50, [50, 50]), (102, 50, [50, 50, 2]), (1, 50, [1]), (3, 1, None)],
)
def test_a_tail_of_one_joins_the_batch_before_it(count, batch, sizes):
    parts = order(count, batch, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    if sizes:
        assert [len(part) for part in parts] == sizes


def test_batchnorm_trains_where_the_last_batch_would_hold_one_sample():
    # The last stage of this network has one pixel: a batch of one has no variance.
    module = built(zoo.get("resnet18"), 0)
    fit(module, small("resnet18", 5), Recipe(epochs=1, rate=1e-3, batch=2), seed=0)
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


def test_the_rate_rises_then_falls_to_nothing():
    assert one_cycle(0.0) == 0.0
    assert one_cycle(0.1) == pytest.approx(0.5)
    assert one_cycle(0.2) == pytest.approx(1.0)
    assert one_cycle(0.6) == pytest.approx(0.5)
    assert one_cycle(1.0) == pytest.approx(0.0)


def test_digits_mlp_trains_to_its_floor_and_to_the_same_bits():
    model = zoo.get("digits_mlp")
    modules = [built(model, seed) for seed in (0, 0, 1)]
    for module, seed in zip(modules, (0, 0, 1), strict=True):
        torch.rand(seed + 1)  # the caller's own use of random numbers changes nothing
        model.train(module, seed)
    assert same(modules[0], modules[1])
    assert not same(modules[0], modules[2])
    evaluation = model.split("evaluation")
    with torch.inference_mode():
        outputs = modules[0](*evaluation.inputs)
    assert model.score(outputs, evaluation, None).mean() >= 0.95


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit", "lstm"])
def test_two_trainings_give_the_same_bits(name):
    def noisy(inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs + 0.01 * torch.randn(inputs.shape, generator=generator)

    recipe = Recipe(
        epochs=1,
        rate=1e-2,
        batch=20,
        augment=noisy,
        momentum=0.9 if name == "resnet18" else None,
        channels_last=name == "mobilenet_v3_small",
    )
    modules = [built(zoo.get(name), 7) for _ in range(2)]
    for module in modules:
        torch.seed()  # dropout draws from the global generator, which the caller may have used
        fit(module, small(name, 40), recipe, seed=7)
    assert same(*modules)
    assert not same(modules[0], built(zoo.get(name), 7))


def test_training_leaves_the_callers_random_numbers_and_gives_plain_weights_in_eval_mode():
    module = built(zoo.get("mobilenet_v3_small"), 0)
    before = torch.get_rng_state()
    recipe = Recipe(epochs=1, rate=1e-3, batch=8, channels_last=True)
    fit(module, small("mobilenet_v3_small", 8), recipe, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not module.training
    assert all(value.is_contiguous() for value in module.state_dict().values())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_training_needs_labels_and_one_input():
    split = zoo.Split(inputs=(torch.rand(4, 64),))
    with pytest.raises(ValueError, match="one positional input and labels"):
        fit(built(zoo.get("digits_mlp"), 0), split, Recipe(epochs=1, rate=1e-3), seed=0)


def test_training_works_under_inference_settings_of_the_caller():
    module = built(zoo.get("digits_mlp"), 0)
    start = module[0].weight.detach().clone()
    with torch.no_grad():
        fit(module, small("digits_mlp", 50), Recipe(epochs=1, rate=1e-2), seed=0)
    assert not torch.equal(module[0].weight, start)
