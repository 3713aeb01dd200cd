"""One test a gate: `test_speed[resnet18-onnxruntime-cpu-b1]` asks the speed gate of that cell."""

from __future__ import annotations

import pytest

from suites.export_benchmark import replay
from suites.matrix import Cell
from suites.outcomes import raise_outcome
from suites.run import Run


def test_evidence(cell: Cell, batch: None, optgauge: Run) -> None:
    """What the technique claims is found in the reloaded artifact."""
    raise_outcome(optgauge.ask(cell, "evidence", batch), optgauge.settings.gate)


def test_reload(cell: Cell, batch: None, optgauge: Run) -> None:
    """The artifact, opened in a fresh process, gives what was measured in memory."""
    raise_outcome(optgauge.ask(cell, "reload", batch), optgauge.settings.gate)


def test_accuracy(cell: Cell, batch: None, optgauge: Run) -> None:
    """The score on the evaluation split drops by less than the limit."""
    raise_outcome(optgauge.ask(cell, "accuracy", batch), optgauge.settings.gate)


def test_fidelity(cell: Cell, batch: None, optgauge: Run) -> None:
    """The outputs agree with FP32's."""
    raise_outcome(optgauge.ask(cell, "fidelity", batch), optgauge.settings.gate)


def test_size(cell: Cell, batch: None, optgauge: Run) -> None:
    """The artifact's bytes, every file counted, against the baseline's."""
    raise_outcome(optgauge.ask(cell, "size", batch), optgauge.settings.gate)


def test_speed(cell: Cell, batch: int, optgauge: Run, request: pytest.FixtureRequest) -> None:
    """Time against FP32's, in turns in one process."""
    verdict = optgauge.ask(cell, "speed", batch)
    replay(request, optgauge.record_of(request.node.nodeid))
    raise_outcome(verdict, optgauge.settings.gate)


def test_memory(cell: Cell, batch: int, optgauge: Run) -> None:
    """Peak memory of loading and running, against FP32's."""
    raise_outcome(optgauge.ask(cell, "memory", batch), optgauge.settings.gate)


def test_regression(cell: Cell, batch: None, optgauge: Run) -> None:
    """Not worse than in the accepted run of the history, as far as timing both confirms it."""
    raise_outcome(optgauge.ask(cell, "regression", batch), optgauge.settings.gate)
