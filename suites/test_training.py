"""How techniques train, one test a gate: `test_training_speed[resnet18-amp_bf16-cpu]`.

Collected where it is asked for by name or by technique: training takes minutes a model.
"""

from __future__ import annotations

from suites.matrix import Cell
from suites.outcomes import raise_outcome
from suites.run import Run


def test_training_steps(cell: Cell, batch: None, optgauge: Run) -> None:
    """Steps were taken, losses and weights are finite, layers ran in the asked format."""
    raise_outcome(optgauge.ask(cell, "training_steps", batch), optgauge.settings.gate)


def test_training_accuracy(cell: Cell, batch: None, optgauge: Run) -> None:
    """The trained models' score, over seeds, against FP32 training's."""
    raise_outcome(optgauge.ask(cell, "training_accuracy", batch), optgauge.settings.gate)


def test_training_memory(cell: Cell, batch: None, optgauge: Run) -> None:
    """Peak memory of the first steps, against FP32's."""
    raise_outcome(optgauge.ask(cell, "training_memory", batch), optgauge.settings.gate)


def test_training_speed(cell: Cell, batch: None, optgauge: Run) -> None:
    """Time of a step against FP32's, in turns in one process."""
    raise_outcome(optgauge.ask(cell, "training_speed", batch), optgauge.settings.gate)
