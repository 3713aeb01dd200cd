"""How a search scores a candidate: trained for a short while, judged on a part of training."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from optimizers.base import Context, Refused
from optimizers.finetune import finetune, holdout
from optimizers.search_cost import Stopwatch, cost
from optimizers.search_parallel import side_by_side
from optimizers.search_space import Choice, Space
from optimizers.statistics import renew
from zoo import Split

SHARE = 0.2
"""Of the training split: what candidates are scored on. The evaluation split is never asked."""

BATCH = 100

ROUNDING = 1e-9
"""Scores are counts over samples, and one sample may be all that an error allows."""

Record = dict[str, Any]
"""A trial as plain data: choice, right, parameters, bytes, macs, seconds (of its training),
latency_ms, latency_error.

All but the times depend on the seed and the machine's instruction set alone.
"""


@dataclass(frozen=True)
class Budget:
    """What the user allows: ms of a call with one sample on the target, MB (10^6) of weights."""

    latency_ms: float | None = None
    size_mb: float | None = None

    def over(self, record: Mapping[str, Any]) -> dict[str, float]:
        """How far a candidate is over each stated budget, as a share of it; not over: negative.

        Latency counts with the error of its measurement: what may be over the budget is over it.
        """
        sides = {
            "latency": (record["latency_ms"] * (1 + record["latency_error"]), self.latency_ms),
            "size": (record["bytes"] / 1e6, self.size_mb),
        }
        return {name: value / most - 1 for name, (value, most) in sides.items() if most is not None}

    def misses(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The budgets that a candidate does not keep, with the share that it is over them."""
        return {name: share for name, share in self.over(record).items() if share > 0}


class Evaluator:
    """Scores candidates of a space; whoever proposes them (evolution, chance, a controller).

    Every candidate gets the same seed, samples and order, and no weights of another's: they differ
    in widths and kernels, so that sharing would take a network of all of them, trained first, and
    one of these trains in seconds. Statistics of BatchNorm are renewed before it is scored.

    Where the process has several threads, as many candidates train side by side, each with one:
    small layers gain little from more, and what is found does not depend on how many there are.
    Timing is one after another, when no training runs.
    Raises Refused where the model has no labelled training split.
    """

    def __init__(
        self, context: Context, space: Space, module: nn.Module, reference_ms: float | None = None
    ) -> None:
        split = context.train()
        if split.labels is None:
            raise Refused(f"a search needs labels, and {context.model.full_name} has none")
        self.context, self.space = context, space
        self.rest, self.part = holdout(split, SHARE, context.seed)
        self.example = context.model.example(1)
        self.stopwatch = Stopwatch(module, self.example, context.target, reference_ms)

    def __call__(self, choices: Sequence[Choice]) -> Iterator[Record]:
        """The records in order, each as soon as it is whole."""
        together = torch.get_num_threads()
        for start in range(0, len(choices), together):
            chunk = choices[start : start + together]
            scored = side_by_side(self._scored, chunk) if together > 1 else map(self._scored, chunk)
            for choice, record in zip(chunk, scored, strict=True):
                yield {**record, **self.stopwatch.measure(self.built(choice))}

    def _scored(self, choice: Choice) -> Record:
        """What of a record needs no clock."""
        began = time.perf_counter()
        module = self.built(choice)
        self._train(module, self.rest, self.space.short)
        return {
            "choice": dict(choice),
            "right": self.right(module),
            **cost(module, self.example),
            "seconds": round(time.perf_counter() - began, 3),
        }

    def built(self, choice: Choice) -> nn.Module:
        """The candidate with its first weights, which the seed decides."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.context.seed)
            return self.space.build(choice)

    def finished(self, module: nn.Module) -> dict[str, Any]:
        """Train a module on the whole training split for the space's long budget."""
        return self._train(module, self.context.train(), self.space.long)

    def _train(self, module: nn.Module, split: Split, epochs: float) -> dict[str, Any]:
        space = self.space
        told = finetune(
            module,
            dataclasses.replace(self.context, notes={}),
            epochs=epochs,
            learning_rate=space.rate,
            batch=space.batch,
            split=split,
        )
        # The running statistics of a short training are still half those of its first steps.
        renew(module, split)
        return told

    def right(self, module: nn.Module) -> float:
        """Mean score on the validation part."""
        with torch.inference_mode():
            parts = [module(*args, **kwargs) for args, kwargs in self.part.batches(BATCH)]
        joined = torch.cat(parts)
        return float(self.context.model.score(joined, self.part, joined).double().mean())


def front(records: Sequence[Record]) -> list[int]:
    """Numbers of the trials that no other beats in both score and latency, fastest first."""
    order = sorted(
        range(len(records)), key=lambda n: (records[n]["latency_ms"], -_right(records[n]))
    )
    found: list[int] = []
    for number in order:
        if not found or _right(records[number]) > _right(records[found[-1]]):
            found.append(number)
    return found


def standard_error(right: float, samples: int) -> float:
    """Of a mean score from 0 to 1: that of a share, which no other's exceeds; at least a sample."""
    return max(math.sqrt(max(right * (1 - right), 0.0) / samples), 1 / samples)


@dataclass(frozen=True)
class Rule:
    """Which of several candidates is returned, by scores on so many samples.

    by: what is to be small, "latency_ms" or "bytes".
    """

    samples: int
    by: str = "latency_ms"

    @classmethod
    def of(cls, samples: int, stated: Mapping[str, float]) -> Rule:
        """Small where size is the only budget that was stated; fast everywhere else."""
        return cls(samples, "bytes" if set(stated) == {"size_mb"} else "latency_ms")

    def leader(self, records: Sequence[Record], budget: Budget) -> int | None:
        """The number of the trial with the best score within the budget; None where none is."""
        kept = [number for number, record in enumerate(records) if not budget.misses(record)]
        return min(kept, key=lambda n: (-_right(records[n]), records[n][self.by], n), default=None)

    def best(self, records: Sequence[Record], budget: Budget) -> int:
        """The number of the trial to return.

        The fastest, or smallest, of those within the budget whose score is at most one standard
        error below the best (Breiman, Friedman, Olshen and Stone, 1984, section 3.4.3): which of
        them scored most is a matter of the samples. Where none is within the budget, the one whose
        largest miss is smallest.
        """
        leader = self.leader(records, budget)
        if leader is None:
            order = range(len(records))
            return min(order, key=lambda n: (max(budget.over(records[n]).values()), n))
        top = _right(records[leader])
        least = top - standard_error(top, self.samples) - ROUNDING
        near = [
            number
            for number, record in enumerate(records)
            if _right(record) >= least and not budget.misses(record)
        ]
        return min(near, key=lambda n: (records[n][self.by], -_right(records[n]), n))


def _right(record: Record) -> float:
    return record["right"]
