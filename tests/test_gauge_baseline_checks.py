"""Models that cannot be told against anything are refused, each with the reason that holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gauge.baseline_checks import BaselineProblem, check, find_problems

BATCH = ((torch.linspace(-1, 1, 8).reshape(2, 4),), {})


class KeepsHidden(nn.Module):
    """OPT-35 (b): the hidden state lives on from one call to the next."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 4)
        self.hidden = None

    def forward(self, x):
        self.hidden = self.cell(x, self.hidden)
        return self.hidden


class Toggles(nn.Module):
    """Every other call agrees with the first."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (self.calls % 2)


class Alternates(nn.Module):
    """Returns another structure the second time."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return (x, x) if self.calls % 2 else x


class DrawsNoise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x


class OverwritesItsOutput(nn.Module):
    """Two calls return the same memory: only copies tell them apart."""

    def __init__(self):
        super().__init__()
        self.memory = torch.zeros(2, 4)
        self.step = 0

    def forward(self, x):
        self.step += 1
        return self.memory.copy_(x * self.step)


def test_a_sound_model_has_no_problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.ReLU()).eval()
    assert find_problems(model, BATCH) == []
    check(model, BATCH)


def test_opt_35_a_model_that_alters_its_input_is_named_and_the_batch_is_left_alone():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))
    before = BATCH[0][0].clone()
    (problem,) = find_problems(model, BATCH)
    assert problem == "changes its input: argument 0 differs after a call"
    assert torch.equal(BATCH[0][0], before)


def test_a_changed_keyword_argument_is_named():
    def call(x, extra):
        return extra["mask"].zero_() + x

    (problem,) = find_problems(call, ((torch.ones(1),), {"extra": {"mask": torch.ones(1)}}))
    assert "extra.mask" in problem


@pytest.mark.parametrize("model", [KeepsHidden(), Toggles(), OverwritesItsOutput()])
def test_opt_35_kept_state_is_called_stateful(model):
    (problem,) = find_problems(model, BATCH)
    assert problem.startswith("stateful: two identical calls differ by ")


def test_another_structure_in_the_second_call_is_stateful():
    (problem,) = find_problems(Alternates(), BATCH)
    assert problem.startswith("stateful: ")
    assert "structure differs" in problem


def test_random_numbers_are_told_apart_from_state():
    state = torch.get_rng_state()
    (problem,) = find_problems(DrawsNoise(), BATCH)
    assert problem.startswith("not deterministic: two identical calls differ by ")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_buffer_that_counts_calls_is_stateful_though_outputs_agree():
    assert find_problems(Counts(), BATCH) == ["stateful: a call changes the buffer calls"]


def test_batch_norm_left_in_training_mode_is_seen_twice_over():
    problems = find_problems(nn.Sequential(nn.BatchNorm1d(4)).train(), BATCH)
    assert problems[0] == "in training mode: 0; call eval() first"
    assert "running_mean" in problems[1]


def test_dropout_left_in_training_mode_is_named():
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5))
    problems = find_problems(model, BATCH)
    assert problems[0] == "in training mode: 1; call eval() first"
    assert problems[1].startswith("not deterministic")


def test_a_layer_without_a_training_mode_may_be_left_in_it():
    assert find_problems(nn.Linear(4, 4).train(), BATCH) == []


def test_outputs_that_are_not_finite_name_the_layer():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    nn.init.constant_(model[0].weight, float("inf"))
    (problem,) = find_problems(model, BATCH)
    assert problem == "not finite: 4 of 4 output values are NaN or infinite, first after 0"


def test_a_candidate_is_looked_into_through_its_module():
    module = nn.Dropout(0.5).train()

    class Candidate:
        def __init__(self):
            self.module = module

        def __call__(self, x):
            return module(x)

    problems = find_problems(Candidate(), BATCH)
    assert problems[0] == "in training mode: Dropout; call eval() first"
    assert find_problems(lambda x: x, BATCH, module=module)[0].startswith("in training")


def test_check_raises_with_all_problems():
    with pytest.raises(BaselineProblem, match=r"in training mode: 1.*\nnot deterministic"):
        check(nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5)), BATCH)
