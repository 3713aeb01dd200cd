"""Fine-tuning: it learns, repeats, leaves the teacher alone, and says when it trains nothing."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from optimizers_models import Sentences, Small, small, target
from torch import nn
from torch.nn import functional

import zoo
from optimizers import Context, Refused, finetune, teaching


def blobs(rows: int, seed: int = 3, classes: int = 3) -> zoo.Split:
    """Rows of three clouds of points, and which one each is from."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    inputs = torch.randn(rows, 8, generator=generator) + 3 * torch.eye(8)[labels]
    return zoo.Split((inputs,), labels=labels)


class Clouds(Small):
    rows = 96

    def split(self, name: str) -> zoo.Split:
        return blobs(self.rows)


class Unlabelled(Clouds):
    def split(self, name: str) -> zoo.Split:
        return zoo.Split(super().split(name).inputs)


def network(width: int = 16, classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes)
    )


def seeded(seed: int = 0, **sizes: int) -> nn.Module:
    torch.manual_seed(seed)
    return network(**sizes).eval()


def context(model: zoo.Model, seed: int = 7) -> Context:
    return Context(model, target(), {}, seed=seed, workdir=Path())


def train(module: nn.Module, model: zoo.Model | None = None, **options: Any) -> dict[str, Any]:
    options = {"epochs": 4, "learning_rate": 1e-2, "batch": 16, **options}
    model = model or small("clouds", Clouds, network)
    return finetune.finetune(module, context(model, options.pop("seed", 7)), **options)


def test_labels_and_a_teacher_are_learned():
    for teacher in (None, seeded(1)):
        if teacher is not None:
            train(teacher)
        module = seeded()
        told = train(module, teacher=teacher)
        assert told["last_loss"] < 0.6 * told["first_loss"]
        assert told["steps"] == 24
        assert told["epochs"] == 4
        assert 0.01 < told["moved"] < 10
        assert not module.training
        assert all(one.grad is None for one in module.parameters())
        held = blobs(60, seed=9)
        assert (module(*held.inputs).argmax(1) == held.labels).float().mean() > 0.9


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, x.argmax(1)), lambda x: {"a": [x]}])
def test_without_labels_the_teachers_outputs_are_matched(wrap):
    class Wrapped(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.inside = seeded(seed)

        def forward(self, x: torch.Tensor) -> Any:
            return wrap(self.inside(x))

    module, teacher = Wrapped(0), Wrapped(1)
    told = train(module, small("points", Unlabelled, network), teacher=teacher, epochs=20)
    assert told["last_loss"] < 0.2 * told["first_loss"]


# torch says so of its transformer layers' own fused path, when they are given a padding mask.
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_several_integer_inputs_by_name():
    class Words(Sentences):
        def split(self, name: str) -> zoo.Split:
            return super().split("calibration")

    model = small("words", Words)
    torch.manual_seed(0)
    module = model.build().eval()
    teacher = model.build().eval()
    told = train(module, model, teacher=teacher, epochs=10)
    assert told["last_loss"] < told["first_loss"]


def test_same_seed_same_weights_and_the_callers_generator_stays():
    found = []
    for seed in (7, 7, 8):
        module = seeded()
        module.insert(0, nn.Dropout(0.2))
        torch.manual_seed(len(found))
        state = torch.get_rng_state()
        train(module, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(finetune.digest(module))
    assert found[0] == found[1] != found[2]


def test_fractions_of_an_epoch_and_at_least_one_step():
    assert train(seeded(), epochs=0.5)["steps"] == 3
    assert train(seeded(), epochs=0.01)["steps"] == 1
    assert train(seeded(), epochs=1.5)["steps"] == 9


# OPT-18: T squared, the sum over classes and the teacher's mode are what such losses get wrong.
@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_gradients_of_soft_targets_keep_their_size_whatever_temperature_and_classes(classes):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(8, classes, generator=generator)
    teacher = torch.randn(8, classes, generator=generator)

    def norm(temperature: float) -> float:
        logits = student.clone().requires_grad_()
        teaching.soft_targets(logits, teacher, temperature).backward()
        return logits.grad.norm().item()

    assert 0.5 < norm(4.0) / norm(1.0) < 2


def test_classes_that_nobody_believes_in_leave_the_gradient_as_it_is():
    torch.manual_seed(0)
    found = []
    for extra in (0, 990):
        logits = torch.randn(8, 10).requires_grad_() if not found else found[0]
        wide = functional.pad(logits, (0, extra), value=-300.0)
        teacher = functional.pad(torch.ones(8, 10).tril(), (0, extra), value=-300.0)
        (gradient,) = torch.autograd.grad(teaching.soft_targets(wide, teacher, 4.0), logits)
        found += [logits, gradient]
    # A mean over classes instead of their sum would make the second 100 times smaller.
    torch.testing.assert_close(found[1], found[3])


def test_soft_targets_are_the_divergence_written_out():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    p, q = (teacher / 2).softmax(1), (student / 2).softmax(1)
    expected = 4 * (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(teaching.soft_targets(student, teacher, 2.0), expected)
    assert teaching.soft_targets(teacher, teacher, 2.0).abs() < 1e-6


def test_a_teacher_given_in_train_mode_teaches_in_eval_and_stays_as_it_is():
    teacher = seeded(1).train()
    before = finetune.digest(teacher)
    train(seeded(), teacher=teacher)
    assert finetune.digest(teacher) == before
    assert not teacher.training


class Drifting(nn.Module):
    """A teacher whose BatchNorm does not listen to eval()."""

    def __init__(self, do: str) -> None:
        super().__init__()
        self.inside = seeded(1)
        self.do = do

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.do == "drift":
            self.inside[1].train()
        if self.do == "gradient":
            self.inside[0].bias.grad = torch.zeros(16)
        return self.inside(x)


@pytest.mark.parametrize(("do", "message"), [("drift", "changed"), ("gradient", "gradients")])
def test_a_teacher_that_changes_is_an_error(do, message):
    with pytest.raises(RuntimeError, match=message):
        train(seeded(), teacher=Drifting(do))


def test_a_teacher_that_shares_weights_is_an_error():
    module = seeded()
    with pytest.raises(ValueError, match="shares 6 parameters"):
        train(module, teacher=nn.Sequential(*module))


def test_a_loss_that_is_not_finite_is_an_error():
    module = seeded()
    with torch.no_grad():
        module[0].weight[0, 0] = math.nan
    with pytest.raises(RuntimeError, match="the loss is nan at step 1 of 24"):
        train(module)


def test_a_parameter_that_the_optimiser_does_not_own_is_an_error():
    module = seeded()
    with pytest.raises(RuntimeError, match=r"does not own 1 live parameters: 3\.bias"):
        train(module, parameters=list(module.parameters())[:-1])

    stale = list(module.parameters())
    module[3].weight.requires_grad_(False)
    module[3].bias = nn.Parameter(torch.zeros(3), requires_grad=False)
    with pytest.raises(RuntimeError, match="1 of the optimiser's parameters are not the module's"):
        train(module, parameters=stale)

    def replace() -> None:
        module[3].bias = nn.Parameter(module[3].bias.detach().clone())

    module = seeded()
    with pytest.raises(RuntimeError, match="does not own 1 live"):
        train(module, trained=replace)


def test_only_the_named_parameters_move_and_masks_hold():
    module = seeded()
    module[0].requires_grad_(False)
    first = module[0].weight.clone()
    last = module[3].weight
    mask = torch.arange(16) % 2 == 0

    def hold() -> None:
        last.data.mul_(mask)

    train(
        module,
        parameters=[one for one in module.parameters() if one.requires_grad],
        trained=hold,
    )
    assert torch.equal(module[0].weight, first)
    assert (last[:, ~mask] == 0).all()
    assert (last[:, mask] != 0).all()


def test_a_tail_of_one_does_not_stop_batchnorm():
    class Odd(Clouds):
        rows = 33

    assert train(seeded(), small("odd", Odd, network))["steps"] == 8


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch": 1}, {"temperature": 0}])
def test_settings_that_train_nothing_are_an_error(options):
    with pytest.raises(ValueError, match=r"found .*"):
        train(seeded(), **options)


def test_nothing_to_train_towards_is_an_error():
    with pytest.raises(ValueError, match="only a teacher to match"):
        train(seeded(), small("points", Unlabelled, network))
    with pytest.raises(ValueError, match="cannot be matched"):
        train(seeded(), small("points", Unlabelled, network), teacher=seeded(classes=4))


def test_without_a_training_split_it_is_refused():
    with pytest.raises(Refused, match="has no train split: these tests train nothing"):
        train(seeded(), small("rows", Small, network))


def test_modes_stand_in_for_train_and_eval():
    module = copy.deepcopy(seeded())
    seen = []

    def refuse(mode: bool = True) -> nn.Module:
        raise NotImplementedError("as exported modules do")

    module.train = refuse
    train(module, modes=(lambda: seen.append("train"), lambda: seen.append("eval")))
    assert seen == ["train", "eval"]


def test_holdout_keeps_groups_together_and_repeats():
    groups = [row // 5 for row in range(60)]
    split = zoo.Split({"x": torch.arange(60)}, torch.arange(60), groups)
    kept, held = finetune.holdout(split, 0.2, seed=1)
    assert len(kept) + len(held) == 60
    assert 12 <= len(held) < 17
    assert not set(kept.groups) & set(held.groups)
    assert torch.equal(kept.labels, kept.inputs["x"])
    assert sorted([*kept.labels.tolist(), *held.labels.tolist()]) == list(range(60))
    again = finetune.holdout(split, 0.2, seed=1)[1]
    assert torch.equal(again.labels, held.labels)
    assert not torch.equal(finetune.holdout(split, 0.2, seed=2)[1].labels, held.labels)

    alone = finetune.holdout(blobs(50), 0.1, seed=0)[1]
    assert len(alone) == 5
    with pytest.raises(ValueError, match="leaves one side empty"):
        finetune.holdout(zoo.Split((torch.zeros(4),), groups=[1, 1, 1, 1]), 0.5, seed=0)


def test_a_part_of_the_training_split_is_trained_on():
    kept, _ = finetune.holdout(blobs(96), 0.5, seed=0)
    assert train(seeded(), split=kept)["steps"] == 12


def test_a_teacher_is_asked_once_for_each_sample():
    asked = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = seeded(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(len(x))
            return self.inside(x)

    module, other = seeded(), seeded()
    train(module, teacher=Counting(), epochs=3)
    assert sum(asked) == 96
    train(other, teacher=seeded(1), epochs=3)
    assert finetune.digest(module) == finetune.digest(other)


class Seen(nn.Module):
    """Remembers what it was asked."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.inputs: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.inputs.append(x.clone())
        return self.inside(x)


class Blurred(Clouds):
    def augment(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inputs + torch.randn(inputs.shape, generator=generator)


def test_module_and_teacher_see_the_same_changed_inputs_new_ones_each_time():
    def trained(**options: Any) -> tuple[Seen, Seen]:
        module, teacher = Seen(seeded()), Seen(seeded(1))
        model = small("blurred", Blurred, network)
        train(module, model, teacher=teacher, epochs=2, batch=96, **options)
        return module, teacher

    module, teacher = trained(augmented=True)
    first, second = module.inputs
    assert torch.equal(torch.cat(teacher.inputs), torch.cat(module.inputs))
    own = blobs(96).inputs[0]
    nearest = torch.cdist(first, own).argmin(1)
    assert (first - own[nearest]).std() > 0.5
    assert not torch.equal(first.sum(1).sort().values, second.sum(1).sort().values)

    again, _ = trained(augmented=True)
    assert torch.equal(torch.cat(again.inputs), torch.cat(module.inputs))
    plain, _ = trained()
    assert all(torch.equal(one.sort(0).values, own.sort(0).values) for one in plain.inputs)


def test_a_model_that_changes_no_inputs_is_trained_on_them_as_they_are():
    module, other = Seen(seeded()), Seen(seeded())
    teacher = Seen(seeded(1))
    train(module, teacher=teacher, augmented=True)
    train(other, teacher=seeded(1))
    assert finetune.digest(module) == finetune.digest(other)
    assert sum(map(len, teacher.inputs)) == 96


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x[:-1], r"made torch.float32 \[15, 8\] of torch.float32 \[16, 8\]"),
        (lambda x: x.double(), "made torch.float64 .* shape and dtype must stay"),
    ],
)
def test_inputs_of_another_form_are_an_error(wrong, message):
    class Other(Blurred):
        def augment(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return wrong(inputs)

    with pytest.raises(ValueError, match=message):
        train(seeded(), small("other", Other, network), augmented=True)


def test_inputs_that_cannot_be_changed_are_an_error():
    class Named(Blurred):
        def split(self, name: str) -> zoo.Split:
            found = super().split(name)
            return zoo.Split({"x": found.inputs[0]}, found.labels)

    with pytest.raises(ValueError, match="changes one positional input, and it has others"):
        train(seeded(), small("named", Named, network), augmented=True)


def test_memory_formats_are_what_they_were():
    class Pixels(Clouds):
        def split(self, name: str) -> zoo.Split:
            found = super().split(name)
            return zoo.Split((found.inputs[0].reshape(-1, 2, 2, 2),), found.labels)

    for groups in (1, 2):
        module = nn.Sequential(nn.Conv2d(2, 8, 2, groups=groups), nn.Flatten(), nn.Linear(8, 3))
        module[0].weight.data = module[0].weight.data.clone()
        plain = [one.stride() for one in module.parameters()]
        train(module, small("pixels", Pixels, network))
        assert [one.stride() for one in module.parameters()] == plain
        module.to(memory_format=torch.channels_last)
        laid = module[0].weight.stride()
        train(module, small("pixels", Pixels, network))
        assert module[0].weight.stride() == laid


def test_what_is_not_worth_a_training_is_not_trained():
    module = seeded()
    before = copy.deepcopy(module.state_dict())
    told = context(small("clouds", Clouds, network))

    def worth(asked: nn.Module) -> None:
        assert asked is module
        raise LookupError("not worth it")

    told.worth = worth
    with pytest.raises(LookupError, match="not worth it"):
        finetune.finetune(module, told, epochs=1, learning_rate=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
