"""Which cells of an accepted run a later one lacks: those that it was asked, and has not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from suites import asking, keeping


def row(gate: str) -> SimpleNamespace:
    names = {"model": "lstm", "technique": "amp_bf16", "target": "cpu"}
    return SimpleNamespace(cell="lstm-amp_bf16-cpu", gate=gate, **names)


@pytest.mark.parametrize(
    ("gates", "models", "missing"),
    [
        (["training_steps", "training_accuracy"], (), False),
        (["accuracy", "training_accuracy"], (), True),
        (["accuracy"], ("lstm",), True),
        (["accuracy"], ("vit",), False),
    ],
)
def test_what_only_another_file_asks_is_not_missing(gates, models, missing):
    settings = SimpleNamespace(targets=("cpu",), models=models, techniques=())
    old = SimpleNamespace(rows={gate: row(gate) for gate in gates})
    run = SimpleNamespace(settings=settings)
    assert keeping._asked(run, old, "lstm-amp_bf16-cpu", {asking.GATES}) is missing
