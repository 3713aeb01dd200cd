"""Whole channels, neurons, heads and hidden units removed, then trained again (Li et al., 2017)."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from optimizers import (
    slim_attention,
    slim_graph,
    slim_notes,
    slim_recurrent,
    slim_refit,
    statistics,
)
from optimizers.base import Context, Refused, Technique, register
from optimizers.eager import EagerModule
from optimizers.finetune import finetune
from optimizers.slim_units import Group, Units
from optimizers.slim_widths import NARROWEST, kept
from optimizers.structure import flatten
from optimizers.teaching import TaskLoss
from zoo import Batch, Split

STEPS = 2
"""Cuts with a training after each: what remains is ranked again when it has adapted."""

EPOCHS = 4.0
LEAST = 15
"""Epochs, and at least so many batches, of the training after each cut; twice after the last."""

RATE = 3e-3
RATE_UNLABELLED = 3e-4
"""Pretrained models without labels, and with few samples, must not move far from what they know:
seen on minilm at amount 0.5, 67 % of the nearest neighbours kept with this rate, 45 % with the
other, 58 % without training."""

ALPHA = 0.9
"""Share of the dense model's soft targets: the labels are fitted before long, these are not."""

IMPORTANCE = ("magnitude", "taylor")
BATCH = 50
BATCHES = 8
"""How many Taylor importance adds up."""


@register
class PruneChannels(Technique):
    """`amount`: the share of each group's channels that goes, rounded (optimizers.slim_widths).

    `importance`: "magnitude", the norm of a channel's weights (Li et al., 2017), or "taylor", the
    first-order change of the loss without it (Molchanov et al., 2019), which needs labels.

    Transformer layers lose heads and feed-forward neurons, recurrent layers hidden units; all
    other models lose the channels that torch-pruning's dependency graph ties together. Outputs
    keep their shape. The dense model teaches the pruned one, on inputs that change as in its own
    training: without that, resnet18 with 70 % less loses 0.45 points instead of 0.15, and lstm with
    50 % 0.7 instead of 0.3 (two to four trainings, each on 3,000 samples that none has seen).
    """

    name = "prune_channels"
    family = "pruning"
    changes = "structure"
    claims = ("fewer_parameters", "fewer_macs")
    variants = (
        {"amount": 0.5, "importance": "magnitude"},
        {"amount": 0.3, "importance": "magnitude"},
        {"amount": 0.5, "importance": "taylor"},
    )
    scale = ("amount", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8))
    standard = ("resnet18", "lstm")

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        amount, importance = context.params["amount"], context.params["importance"]
        if not 0 < amount < 1 or importance not in IMPORTANCE:
            raise ValueError(
                f"amount must lie between 0 and 1 and importance be one of {IMPORTANCE}, found "
                f"{amount}, {importance}"
            )
        train = context.train()
        teacher = copy.deepcopy(module)
        attention = slim_attention.open_attention(module)
        before, laid = slim_notes.sizes(module), slim_notes.laid_channels_last(module)
        batch = context.model.example(2)
        groups = find_groups(module, batch, context)
        targets = {one.name: kept(one.width, amount, one.grain) for one in groups}
        dense = {one.name: one.width for one in groups}
        if targets == dense:
            raise Refused(
                f"no layer of {context.model.full_name} is wider than the {NARROWEST} channels "
                "that kernels compute at once"
            )
        if context.worth is not None:
            slim = cut_at_once(module, targets, batch, context)
            slim_notes.lay_channels_last(slim, laid)
            context.worth(slim)
            context = dataclasses.replace(context, worth=None)
        told = []
        for step in range(1, STEPS + 1):
            scores = _scores(module, groups, importance, train)
            products = slim_refit.moments(module, groups, train)
            for one in groups:
                gone = step / STEPS * (dense[one.name] - targets[one.name])
                leave = dense[one.name] - round(gone)
                cut(module, one, scores[one.name], leave, batch, products.get(one.name))
            slim_notes.lay_channels_last(module, laid)
            statistics.renew(module, train)
            whole = step == STEPS
            told.append(
                finetune(
                    module,
                    context,
                    epochs=max(EPOCHS, LEAST * BATCH / len(train)) * (2 if whole else 1),
                    learning_rate=RATE if train.labels is not None else RATE_UNLABELLED,
                    teacher=teacher,
                    alpha=ALPHA,
                    batch=BATCH,
                    augmented=True,
                )
            )
        statistics.renew(module, train)
        context.notes |= {
            "attention": attention,
            "sizes": slim_notes.changed(before, module),
            "groups": {name: [targets[name], dense[name]] for name in targets},
            "finetune": told,
        }
        return EagerModule(module)

    def rebuild(
        self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]
    ) -> nn.Module:
        slim_attention.put_attention(module, notes["attention"])
        slim_notes.resize(module, notes["sizes"])
        return module


def find_groups(module: nn.Module, batch: Batch, context: Context) -> list[Group]:
    """What can be removed together; raises Refused where there is nothing.

    By hand where the layers are known (torch-pruning stumbles over recurrent and attention
    layers), else with torch-pruning.
    """
    found: list[Group] = [
        *slim_attention.groups(module),
        *slim_recurrent.groups(module, batch),
    ]
    if not found:
        found = list(slim_graph.groups(module, batch))
    if not found:
        raise Refused(
            f"no channel of {context.model.full_name} can go: each is tied to another layer's "
            "weights, or its outputs consist of it"
        )
    return found


def cut_at_once(
    module: nn.Module, targets: dict[str, int], batch: Batch, context: Context
) -> nn.Module:
    """A copy that has the widths it is to have, not yet the weights."""
    slim = copy.deepcopy(module)
    for one in find_groups(slim, batch, context):
        cut(slim, one, one.score("magnitude"), targets[one.name], batch)
    return slim


def cut(
    module: nn.Module,
    group: Group,
    scores: Tensor,
    leave: int,
    batch: Batch,
    products: slim_refit.Products | None = None,
) -> None:
    """Remove a group's worst units until `leave` are left, and check the outputs' shapes.

    products: of slim_refit.moments; with them, the layer behind is fitted to what stays.

    Raises RuntimeError naming the group where the module does not run any more, or returns
    other shapes than before.
    """
    before = _shapes(module, batch)
    count = group.width - leave
    if count <= 0:
        return
    what = f"{count} of {group.width} channels of {group.name}"
    worst = scores.argsort()[:count].sort().values
    if products is not None and isinstance(group, Units):
        slim_refit.hand_over(group, products, worst)
    group.remove(worst)
    try:
        after = _shapes(module, batch)
    except (RuntimeError, ValueError, IndexError) as error:
        raise RuntimeError(f"without {what} the model does not run: {error}") from error
    if after != before:
        raise RuntimeError(f"without {what} the outputs are {after}, not {before}")


def _shapes(module: nn.Module, batch: Batch) -> list[tuple[int, ...]]:
    args, kwargs = batch
    with torch.no_grad():
        return [tuple(one.shape) for one in flatten(module(*args, **kwargs))[1]]


def _scores(
    module: nn.Module, groups: list[Group], importance: str, train: Split
) -> dict[str, Tensor]:
    """What each unit of each group is worth."""
    if importance == "magnitude":
        return {one.name: one.score(importance) for one in groups}
    if train.labels is None:
        raise Refused("Taylor importance needs labels: without them no loss changes")
    loss = TaskLoss(train.labels, None, 1.0, 0.0)
    total = {one.name: torch.zeros(one.width) for one in groups}
    for rows in torch.arange(len(train)).split(BATCH)[:BATCHES]:
        args, kwargs = train.take(rows)
        module.zero_grad(set_to_none=True)
        with torch.enable_grad():
            loss(module(*args, **kwargs), (args, kwargs), rows).backward()
        for one in groups:
            total[one.name] += one.score(importance)
    module.zero_grad(set_to_none=True)
    return total
