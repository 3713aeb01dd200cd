"""What is compiled, or given up, while something is timed makes the times mean nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gauge import evidence, recompiles, targets, timing

ROW = torch.linspace(-1, 1, 16).reshape(1, 16)


class Counts(nn.Module):
    """Increments an integer attribute in each call, which dynamo takes for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x) * self.calls


class Breaks(nn.Module):
    def forward(self, x):
        y = x * 2
        torch._dynamo.graph_break()
        return y + 1


@pytest.fixture(autouse=True)
def fresh():
    """No counters or graphs of another test."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def compiled(module, backend="aot_eager"):
    # This backend traces and guards like inductor, and builds nothing.
    return torch.compile(module.eval(), dynamic=False, backend=backend)


def called(call, times, x=ROW):
    with torch.inference_mode():
        for _ in range(times):
            call(x)


def test_nothing_compiled_is_no_problem():
    call = compiled(nn.Linear(16, 16))
    called(call, 1)
    finish = recompiles.watch()
    called(call, 3)
    called(nn.Linear(16, 16), 3)
    assert finish() is None


def test_opt_24_a_graph_built_while_timed_is_told():
    call = compiled(nn.Linear(16, 16))
    called(call, 1)
    finish = recompiles.watch()
    called(call, 1, ROW.expand(3, 16))
    assert finish() == "torch.compile built 1 graphs while timed"


def test_opt_24_recompiling_in_every_call_is_told():
    call = compiled(Counts())
    called(call, 2)
    finish = recompiles.watch()
    called(call, 3)
    assert finish() == "torch.compile built 3 graphs while timed"


def test_opt_24_the_limit_reached_before_is_told_as_well():
    call = compiled(Counts())
    called(call, 20)
    finish = recompiles.watch()
    called(call, 3)
    told = finish()
    assert told is not None
    assert "gave up on 1 frames" in told


def test_opt_24_a_pair_timed_with_recompilations_is_invalid():
    torch.manual_seed(0)
    module = Counts().eval()
    inputs = ((ROW,), {})
    terms = {"seconds": 0.05, "segment": 0.002, "watch": recompiles.watch}
    measured = timing.measure_pair(
        nn.Linear(16, 16), compiled(module), targets.get("cpu"), inputs, inputs, **terms
    )
    assert measured.invalid is not None
    assert "torch.compile" in measured.invalid


def found(claim, call):
    subject = evidence.Subject(call, nn.Linear(16, 16), ((ROW,), {}), None, targets.get("cpu"))
    return evidence.count([claim], subject)[claim]


@pytest.mark.parametrize("claim", ["compiled", "cuda_graphs"])
def test_eager_torch_is_not_compiled(claim):
    told = found(claim, nn.Linear(16, 16).eval())
    assert not told["found"]
    assert told["text"]


def test_a_graph_that_another_backend_runs_eagerly_is_not_compiled():
    assert not found("compiled", compiled(nn.Linear(16, 16), "eager"))["found"]


def test_breaks_are_counted():
    called(compiled(Breaks()), 1)
    assert recompiles.counted().breaks == 1


def test_without_dynamo_there_is_nothing_to_count(monkeypatch):
    monkeypatch.setattr(recompiles, "sys", SimpleNamespace(modules={}))
    assert recompiles.counted() == recompiles.Counted()
