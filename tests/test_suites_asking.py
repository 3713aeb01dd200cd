"""Which file asks which gate, when, and what a release may require of each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gauge.policy_require import Required
from gauge.verdict import GATES, TIMED_GATES
from suites import asking, catalog
from suites.builds import BUILD
from suites.required import required_part


@pytest.mark.parametrize("gate", [BUILD, *GATES])
def test_the_file_of_a_gate_has_its_test(gate):
    assert f"def test_{gate}(" in asking.HOMES[gate].read_text()


def test_what_is_timed_comes_late_and_what_confirms_it_last():
    assert asking.LATE["regression"] > max(asking.LATE[gate] for gate in TIMED_GATES)
    assert asking.LATE["cloud_server"] == asking.LATE["speed"]
    assert "accuracy" not in asking.LATE


def settings(**changes):
    given = {"shard": None, "changed_since": None, "stage": None}
    return SimpleNamespace(**{**given, **changes})


def test_suites_under_load_are_those_that_are_named():
    named = [asking.LOADED["cloud"], asking.GATES]
    assert asking.deployments(settings(), named) == ("cloud",)
    assert asking.deployments(settings(stage="measure"), named) == ("cloud",)
    assert asking.deployments(settings(), [asking.FOLDER]) == ()


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"shard": "1/2"}, "--shard"),
        ({"changed_since": "HEAD"}, "--changed-since"),
        ({"stage": BUILD}, "--stage build"),
    ],
)
def test_what_selects_cells_of_the_gates_is_a_usage_error_under_load(given, option):
    with pytest.raises(pytest.UsageError, match=f"{option} is for what suites/test_gates.py asks"):
        asking.deployments(settings(**given), [asking.LOADED["edge"]])
    assert asking.deployments(settings(**given), [asking.GATES]) == ()


def required(techniques, gates):
    entry = Required("policy.toml:1", "r", ("digits_mlp",), techniques, ("cpu",), gates)
    chosen = {"matrix": "full", "targets": ("cpu",), "models": (), "techniques": ()}
    run = SimpleNamespace(
        policy=SimpleNamespace(required=[entry]),
        catalog=catalog.read(),
        settings=settings(**chosen, gated=(1,)),
    )
    return [
        (sorted({one["technique"] for one in part["cells"]}), [g["gate"] for g in part["gates"]])
        for part in required_part(run)
    ]


def test_a_release_may_require_trainings_by_their_gates():
    assert required(("amp_bf16",), ("training_accuracy",)) == [
        (["amp_bf16", "amp_bf16:4"], ["training_accuracy"])
    ]
    both = required(("*",), ("accuracy", "training_steps"))
    assert [gates for _, gates in both] == [["accuracy"], ["training_steps"]]
    (optimised, _), (trained, _) = both
    assert "amp_bf16" in trained
    assert "amp_bf16" not in optimised
    assert "none" in optimised
