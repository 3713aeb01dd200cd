"""A controller that learns by policy gradient which candidates of a search do well."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimizers.search_evaluator import Budget, Record
from optimizers.search_proposers import Proposer, key, over_size
from optimizers.search_space import Choice, Space

WIDTH = 32
RATE = 0.1
UPDATES = 8
"""Times that the controller learns: each from an eighth of the trials."""
KEPT = 0.7
"""How much of the moving baseline stays at an update."""
EXPONENT = 0.07
"""Twice the products are worth a score that is higher by a twentieth (Tan et al., 2019)."""
LEAST_RIGHT = 1e-3


class Policy(nn.Module):
    """An LSTM that decides one parameter after another, each in view of those before it.

    Its first decisions are uniform: the heads start at zero. counts: values of each parameter.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(WIDTH, WIDTH)
        self.begin = nn.Parameter(torch.zeros(1, WIDTH))
        self.values = nn.ModuleList(nn.Embedding(one, WIDTH) for one in counts)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, one) for one in counts)
        for head in self.heads:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, decided: Sequence[int] | None, generator: torch.Generator | None = None
    ) -> tuple[list[int], Tensor]:
        """Decide, or go through what was decided; the decisions, and their log-probability."""
        seen, state = self.begin, None
        chosen: list[int] = []
        total = torch.zeros(())
        for place, (values, head) in enumerate(zip(self.values, self.heads, strict=True)):
            state = self.cell(seen, state)
            logs = functional.log_softmax(head(state[0])[0], dim=0)
            if decided is None:
                value = int(torch.multinomial(logs.detach().exp(), 1, generator=generator))
            else:
                value = decided[place]
            chosen.append(value)
            total = total + logs[value]
            seen = values(torch.tensor([value]))
        return chosen, total


class Controller(Proposer):
    """REINFORCE (Williams, 1992) with a moving baseline, as in Zoph and Le, 2017.

    The reward is the logarithm of MnasNet's (Tan et al., 2019) with products for latency: a score
    times products to the power of -0.07, and divided by what the candidate has of the budget of
    size where that is more than all of it. Zoph and Le's controller saw 12,800 candidates; this
    one, far smaller, learns from a batch of few at a high rate.
    """

    def __init__(self, space: Space, trials: int, seed: int, budget: Budget) -> None:
        super().__init__(space, trials, seed, budget)
        self.batch = max(2, trials // UPDATES)
        self._generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._policy = Policy([len(values) for values in space.choices.values()])
        self._optimiser = torch.optim.Adam(self._policy.parameters(), RATE)
        self._baseline: float | None = None
        self._foreign: set[str] = set()

    def draw(self) -> Choice:
        with torch.no_grad():
            decided, _ = self._policy(None, self._generator)
        return {
            name: values[place]
            for (name, values), place in zip(self.space.choices.items(), decided, strict=True)
        }

    def given(self, choice: Choice) -> None:
        self._foreign.add(key(choice))

    def learn(self, records: Sequence[Record]) -> None:
        # The gradient is that of what the policy draws: what chance drew says nothing about it.
        own = [one for one in records if key(one["choice"]) not in self._foreign]
        if not own:
            return
        rewards = [reward(one, self.budget) for one in own]
        mean = sum(rewards) / len(rewards)
        if self._baseline is None:
            self._baseline = mean
        with torch.enable_grad():
            loss = torch.zeros(())
            for record, value in zip(own, rewards, strict=True):
                _, log = self._policy(self._places(record["choice"]))
                loss = loss - (value - self._baseline) * log / len(own)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        self._baseline += (1 - KEPT) * (mean - self._baseline)

    def _places(self, choice: Choice) -> list[int]:
        return [values.index(choice[name]) for name, values in self.space.choices.items()]


def reward(record: Record, budget: Budget) -> float:
    """The higher, the better; where the model's own cost would stand, a constant is left out."""
    over = max(0.0, over_size(record, budget) or 0.0)
    right = max(LEAST_RIGHT, record["right"])
    return math.log(right) - EXPONENT * math.log(max(1, record["macs"])) - math.log1p(over)
