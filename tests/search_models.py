"""A small model that is searched, its space, and records of candidates that nobody trained."""

from __future__ import annotations

import torch
from optimizers_models import target
from torch import nn

import zoo
from optimizers import Context
from optimizers.search_evaluator import Evaluator
from optimizers.search_space import Space
from optimizers.search_trials import EVOLUTION, Store, explore

ROWS, CLASSES = 200, 4
CLOCK = ("latency_ms", "latency_error", "seconds")


class Searched(zoo.Model):
    """Which of four directions a row points to most."""

    name = "test_searched"

    def build(self):
        # Far slower than any candidate, whatever else the machine does.
        deep = [layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.ReLU())]
        return nn.Sequential(nn.Linear(8, 64), *deep, nn.Linear(64, 4))

    def split(self, name):
        if name == "evaluation" and self.guarded:
            raise AssertionError("the search asked for the evaluation split")
        generator = torch.Generator().manual_seed(
            ["train", "calibration", "evaluation"].index(name)
        )
        rows = torch.randn(ROWS, 8, generator=generator)
        return zoo.Split((rows,), rows[:, :CLASSES].argmax(1))

    def example(self, batch):
        return (torch.ones(batch, 8),), {}

    guarded = False


def tiny(choice):
    width = choice["width"]
    layers = [nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU()]
    for _ in range(choice["depth"] - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def narrow(choice):
    return choice["depth"] == 2


SPACE = Space(
    {"depth": (1, 2), "width": (2, 4, 6, 8, 12)}, tiny, narrow, short=3, long=10, rate=2e-2
)


class Cut(Exception):
    pass


def context(model, folder, seed=0, **budget):
    return Context(
        model, target(), {"trials": 4}, seed=seed, workdir=folder, budget=budget, kept=folder / "k"
    )


def module():
    torch.manual_seed(0)
    return Searched().build().eval()


def search(model, folder, *, seed=0, trials=4, strategy=EVOLUTION, space=SPACE, evaluate=None):
    evaluator = evaluate or Evaluator(context(model, folder, seed), space, module())
    return explore(opened(folder), evaluator, space, trials=trials, seed=seed, strategy=strategy)


def opened(folder):
    return Store(folder / "search.sqlite3")


def timeless(found):
    return [{key: one[key] for key in one if key not in CLOCK} for one in found]


def fake(choices):
    """Records without training: what the proposals depend on."""
    return map(record, choices)


def record(choice):
    parameters = 10 * choice["width"] * choice["depth"]
    return {
        "choice": dict(choice),
        "right": 1 - 1 / parameters,
        "parameters": parameters,
        "bytes": 4 * parameters,
        "macs": parameters,
        "latency_ms": parameters / 100,
        "latency_error": 0.01,
        "seconds": 0.0,
    }


def made(right, latency, size, error=0.0, macs=1):
    return {
        "right": right, "latency_ms": latency, "latency_error": error, "bytes": size, "macs": macs,
    }  # fmt: skip
