"""Training after an optimisation, on labels and on what a teacher says: short, seeded, checked."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from optimizers.base import Context
from optimizers.teaching import TaskLoss
from zoo import Batch, Model, Split
from zoo.training import Augment, one_cycle, order

LARGEST_GRADIENT = 1.0
"""Norm that gradients are clipped to; it only tames outliers, since Adam divides the scale out."""


def finetune(
    module: nn.Module,
    context: Context,
    *,
    epochs: float,
    learning_rate: float,
    teacher: nn.Module | None = None,
    temperature: float = 4.0,
    alpha: float = 0.5,
    batch: int = 64,
    trained: Callable[[], None] | None = None,
    modes: tuple[Callable[[], Any], Callable[[], Any]] | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    split: Split | None = None,
    augmented: bool = False,
) -> dict[str, Any]:
    """Train `module` in place on the training split, and leave it in eval mode.

    AdamW (Loshchilov and Hutter, 2019) with one cycle of the learning rate (Smith and Topin,
    2019). The loss is optimizers.teaching.TaskLoss: labels, soft targets, or the teacher's outputs.
    Random numbers come from `context.seed` alone; the caller's generator is left as it was.

    epochs: may be a fraction; at least one step is made. learning_rate: the highest.
    teacher: only asked, in eval mode and without gradients. alpha: the share of its soft targets
        in the loss, beside the labels. batch: samples a step; a tail of one joins the batch
        before it, because BatchNorm cannot train on a single value a channel.
    trained: called after each step, to hold what a step must not undo (a mask of zeros).
    modes: what to call instead of `module.train` and `module.eval`, where those raise.
    parameters: those to train, instead of all; the others must not require gradients.
    split: instead of all of the training split, the part of it that `holdout` kept.
    augmented: each batch is changed as the model's own training does (zoo.Model.augment), and the
        teacher is asked about what the module sees (Beyer et al., 2022).

    Returns {"epochs", "steps", "augmented" (whether inputs were changed), "seconds", "first_loss",
    "last_loss", "moved"}: losses are means over the first and the last tenth of the steps, `moved`
    is the norm of the change of all trained weights as a share of their norm before.

    Raises Refused without a training split, ValueError for settings or data that cannot be
    trained on or augmented, and RuntimeError where the loss or a gradient is not finite, where the
    optimiser does not own a live parameter of the module, or where the teacher changed.
    """
    split = split if split is not None else context.train()
    if context.worth is not None:
        context.worth(module)
    if epochs <= 0 or batch < 2 or len(split) < 2:
        raise ValueError(
            "fine-tuning needs epochs > 0 and two samples a step, found "
            f"epochs={epochs}, batch={batch}, {len(split)} samples"
        )
    to_train, to_eval = modes or (module.train, module.eval)
    owned = list(module.parameters() if parameters is None else parameters)
    before = [parameter.detach().clone() for parameter in owned]
    began = time.perf_counter()
    augment = augment_of(context.model) if augmented else None
    loss = TaskLoss(split.labels, teacher, temperature, alpha, same=augment is None)
    formats = _channels_last(module) if modes is None else {}
    guard = _Unchanged(module, teacher)
    # devices=[]: modules are trained on the CPU, so no CUDA context is made to keep its generator.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(context.seed)
        generator = torch.Generator().manual_seed(context.seed)
        to_train()
        try:
            batches = _Batches(split, augment, generator, epochs, batch)
            losses = _steps(module, batches, loss, owned, learning_rate, trained)
        finally:
            to_eval()
            for parameter in owned:
                parameter.grad = None
            for parameter, plain in formats.items():
                if plain:
                    parameter.data = parameter.data.contiguous()
    guard.check()
    tenth = max(1, len(losses) // 10)
    return {
        "epochs": epochs,
        "steps": len(losses),
        "augmented": augment is not None,
        "seconds": time.perf_counter() - began,
        "first_loss": sum(losses[:tenth]) / tenth,
        "last_loss": sum(losses[-tenth:]) / tenth,
        "moved": _moved(before, owned),
    }


def holdout(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Cut a validation part off a training split: (what is left to train on, the part).

    Raises ValueError where either side would be empty.
    """
    held = held_out(split, share, seed)
    return subset(split, (~held).nonzero().flatten()), subset(split, held.nonzero().flatten())


def held_out(split: Split, share: float, seed: int) -> Tensor:
    """bool [n]: which samples `holdout` cuts off.

    share: of the samples, between 0 and 1. Groups stay whole, so the part may be larger by less
    than a group. Raises ValueError where either side would be empty.
    """
    groups = torch.as_tensor(
        list(split.groups if split.groups is not None else range(len(split)))
    ).unique(return_inverse=True)[1]
    wanted = round(share * len(split))
    sizes = groups.bincount()
    shuffled = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
    reached = sizes[shuffled].cumsum(0) - sizes[shuffled]
    held = torch.isin(groups, shuffled[reached < wanted])
    if not 0 < share < 1 or held.all() or not held.any():
        raise ValueError(
            f"a share of {share} of {len(split)} samples in {len(sizes)} groups leaves one side "
            "empty"
        )
    return held


def subset(split: Split, rows: Tensor) -> Split:
    """The samples of a split in these rows (int64 [k]), in their order."""
    args, kwargs = split.take(rows)
    return Split(
        inputs=kwargs or args,
        labels=split.labels[rows] if split.labels is not None else None,
        groups=[split.groups[row] for row in rows.tolist()] if split.groups is not None else None,
    )


def _channels_last(module: nn.Module) -> dict[nn.Parameter, bool]:
    """Lay a model with depthwise convolutions channels last; which parameters lay row by row.

    A step of mobilenet_v3_small takes 0.7 of the time so, one of efficientnet_lite0 0.65.
    """
    convolutions = [one for one in module.modules() if isinstance(one, nn.Conv2d)]
    if all(one.groups == 1 for one in convolutions):
        return {}
    plain = {one: one.is_contiguous() for one in module.parameters() if one.dim() == 4}
    for one in plain:
        one.data = one.data.contiguous(memory_format=torch.channels_last)
    return plain


def augment_of(model: Model) -> Augment | None:
    """How the model changes its training inputs, or None where it does not."""
    return None if type(model).augment is Model.augment else model.augment


def changed(batch: Batch, augment: Augment, generator: torch.Generator) -> Batch:
    """A call's arguments, changed as in training.

    Raises ValueError unless it is one by position, and stays of its shape and dtype.
    """
    args, kwargs = batch
    if kwargs or len(args) != 1:
        raise ValueError("a model's augment() changes one positional input, and it has others")
    made = augment(args[0], generator)
    if made.shape != args[0].shape or made.dtype != args[0].dtype:
        raise ValueError(
            f"a model's augment() made {made.dtype} {list(made.shape)} of {args[0].dtype} "
            f"{list(args[0].shape)}; shape and dtype must stay"
        )
    return (made,), {}


class _Batches:
    """What each step of a training learns from: the samples of some rows of a split."""

    def __init__(
        self,
        split: Split,
        augment: Augment | None,
        generator: torch.Generator,
        epochs: float,
        batch: int,
    ) -> None:
        self.split, self.augment, self.generator, self.batch = split, augment, generator, batch
        self.total = max(1, round(epochs * len(order(len(split), batch, torch.Generator()))))

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[tuple[Batch, Tensor]]:
        left = self.total
        while left:
            for rows in order(len(self.split), self.batch, self.generator)[:left]:
                batch = self.split.take(rows)
                if self.augment is not None:
                    batch = changed(batch, self.augment, self.generator)
                yield batch, rows
                left -= 1


def _steps(
    module: nn.Module,
    batches: _Batches,
    loss: TaskLoss,
    owned: list[nn.Parameter],
    learning_rate: float,
    trained: Callable[[], None] | None,
) -> list[float]:
    """The losses of all steps."""
    total = len(batches)
    optimiser = torch.optim.AdamW(owned, learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: one_cycle((step + 1) / (total + 1))
    )
    losses: list[float] = []
    for (args, kwargs), rows in batches:
        value = loss(module(*args, **kwargs), (args, kwargs), rows)
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise RuntimeError(f"the loss is {losses[-1]} at step {len(losses)} of {total}")
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        if len(losses) == 1:
            _check_owned(module, owned)
        nn.utils.clip_grad_norm_(owned, LARGEST_GRADIENT, error_if_nonfinite=True)
        optimiser.step()
        schedule.step()
        if trained is not None:
            trained()
    _check_owned(module, owned)
    return losses


def _check_owned(module: nn.Module, owned: list[nn.Parameter]) -> None:
    """The optimiser has every parameter that is to be trained, and none that was replaced.

    Pruning puts new parameters in place of old ones: an optimiser made before it would train
    tensors that nothing computes with, and the loss would still look alive.
    """
    live = {id(one): name for name, one in module.named_parameters() if one.requires_grad}
    known = {id(one) for one in owned}
    lost = [name for one, name in live.items() if one not in known]
    if lost:
        raise RuntimeError(f"the optimiser does not own {len(lost)} live parameters: {lost[0]}, …")
    stale = len(known - {id(one) for one in module.parameters()})
    if stale:
        raise RuntimeError(f"{stale} of the optimiser's parameters are not the module's any more")
    if not live or all(one.grad is None for one in owned):
        raise RuntimeError("no parameter of the module gets a gradient")


def _moved(before: list[Tensor], after: list[nn.Parameter]) -> float:
    length = sum(float(one.double().square().sum()) for one in before)
    change = sum(
        float((new.detach().double() - old.double()).square().sum())
        for old, new in zip(before, after, strict=True)
    )
    return math.sqrt(change / length) if length else math.inf


class _Unchanged:
    """The teacher is another module than the student, and stays what it is."""

    def __init__(self, module: nn.Module, teacher: nn.Module | None) -> None:
        self.teacher = teacher
        if teacher is None:
            return
        shared = {id(one) for one in module.parameters()} & {
            id(one) for one in teacher.parameters()
        }
        if shared:
            raise ValueError(f"the teacher shares {len(shared)} parameters with what it teaches")
        teacher.eval()
        self.before = digest(teacher)

    def check(self) -> None:
        if self.teacher is None:
            return
        if digest(self.teacher) != self.before:
            raise RuntimeError("the teacher's weights or statistics changed while it taught")
        if any(one.training for one in self.teacher.modules()):
            raise RuntimeError("the teacher was not in eval mode while it taught")
        if any(one.grad is not None for one in self.teacher.parameters()):
            raise RuntimeError("the teacher got gradients while it taught")


def digest(module: nn.Module) -> str:
    """SHA-256 of a module's state dict: weights and statistics, bit by bit."""
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(name.encode())
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous().flatten()
            found.update(plain.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
