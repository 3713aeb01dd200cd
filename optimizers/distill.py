"""A smaller student taught by the model: soft targets mixed with labels (Hinton et al., 2015)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo
from optimizers import teaching
from optimizers.base import Context, Device, Refused, Technique, register
from optimizers.eager import EagerModule
from optimizers.finetune import digest, finetune
from optimizers.student_recipe import recipe
from zoo import Model

SoftLoss = Callable[[Tensor, Tensor, float], Tensor]


@register
class Distill(Technique):
    """The model's `student()`, trained from scratch on the training split with the model's help.

    `temperature`: what both sides' logits are divided by. `alpha`: the share of the soft targets
    in the loss, beside the labels. Whether the teacher helps at all depends on the student and its
    budget: `tests/results_distillation.py` measures the same student without it.
    """

    name = "distill"
    family = "distillation"
    changes = "architecture"
    claims = ("distilled", "fewer_parameters", "fewer_macs")
    variants = (
        {"temperature": 4.0, "alpha": 0.9},
        {"temperature": 8.0, "alpha": 0.9},
        {"temperature": 4.0, "alpha": 0.5},
    )
    costless = ("temperature", "alpha")
    standard = ("digits_mlp", "resnet18")

    def refuses(self, model: Model, target: Device) -> str | None:
        if type(model).student is Model.student:
            return f"{model.full_name} has no student to teach"
        return None

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        temperature, alpha = float(context.params["temperature"]), float(context.params["alpha"])
        if temperature <= 0 or not 0 < alpha <= 1:
            raise ValueError(
                "distillation needs a temperature above 0 and an alpha above 0 and at most 1, "
                f"found {temperature} and {alpha}"
            )
        check = check_loss(teaching.soft_targets, temperature)
        teacher = copy.deepcopy(module).eval()
        student, told = train(context, teacher, temperature, alpha)
        context.notes.update(
            model=context.model.full_name,
            teacher=digest(teacher),
            loss_check=check,
            training=told,
        )
        return EagerModule(student)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        return _student(zoo.get(notes["model"])).eval()


def train(
    context: Context, teacher: nn.Module | None, temperature: float = 1.0, alpha: float = 0.0
) -> tuple[nn.Module, dict[str, Any]]:
    """The model's student, trained with `teacher` or, for comparison, on labels alone.

    Both get the same first weights, the same samples in the same order and the same number of
    steps: they depend on `context.seed` and the model alone. Returns it in eval mode, and what
    `finetune` tells. Raises Refused without a student or a training split.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        student = _student(context.model)
    plan = recipe(context.model.full_name)
    told = finetune(
        student,
        context,
        epochs=plan.epochs,
        learning_rate=plan.rate,
        teacher=teacher,
        temperature=temperature,
        alpha=alpha,
        batch=plan.batch,
        split=plan.samples(context.train(), context.seed),
    )
    return student, told


def _student(model: Model) -> nn.Module:
    student = model.student()
    if student is None:
        raise Refused(f"{model.full_name} has no student to teach")
    return student


def check_loss(soft: SoftLoss, temperature: float) -> dict[str, float]:
    """Whether a soft-target loss is scaled as it must be, by its gradient on made-up logits.

    temperature_ratio: the gradient's norm at `temperature` over that at 1; without the factor T²
        it would be about 1 / T².
    label_ratio: the norm at 1 over that of the cross-entropy with the teacher's probabilities,
        which has the same gradient; a mean over classes would make it 1 / classes.

    Each is the worst over 10, 100 and 1,000 classes. Raises RuntimeError outside 0.5 to 2.
    """
    worst = {"temperature_ratio": 1.0, "label_ratio": 1.0}
    for classes in (10, 100, 1000):
        generator = torch.Generator().manual_seed(0)
        student, teacher = torch.randn(2, 8, classes, generator=generator)
        plain = _gradient(lambda logits: soft(logits, teacher, 1.0), student)  # noqa: B023
        warm = _gradient(lambda logits: soft(logits, teacher, temperature), student)  # noqa: B023
        labels = _gradient(
            lambda logits: functional.cross_entropy(logits, teacher.softmax(1)),  # noqa: B023
            student,
        )
        for name, ratio in (("temperature_ratio", warm / plain), ("label_ratio", plain / labels)):
            if max(ratio, 1 / ratio) > max(worst[name], 1 / worst[name]):
                worst[name] = ratio
    for name, ratio in worst.items():
        if not 0.5 <= ratio <= 2:
            raise RuntimeError(
                f"the distillation loss is scaled wrongly: {name} is {ratio:.3g} at a temperature "
                f"of {temperature:g}, not near 1"
            )
    return worst


def _gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> float:
    leaf = logits.clone().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(loss(leaf), leaf)
    return max(float(found.norm()), 1e-30)
