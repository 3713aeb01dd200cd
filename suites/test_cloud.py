"""Throughput and its price, one test a gate: `test_cloud_server[resnet18-onnxruntime-cpu]`.

Collected where it is named: `pytest suites/test_cloud.py`. docs/serving.md tells what is measured
and what is simulated.
"""

from __future__ import annotations

from suites.matrix import Cell
from suites.outcomes import raise_outcome
from suites.run import Run


def test_cloud_answers(cell: Cell, batch: None, optgauge: Run) -> None:
    """The answers given under load score as the accuracy limit asks, and none is lost."""
    raise_outcome(optgauge.ask(cell, "cloud_answers", batch), optgauge.settings.gate)


def test_cloud_offline(cell: Cell, batch: None, optgauge: Run) -> None:
    """Samples a second where all of them are there at once, against FP32's."""
    raise_outcome(optgauge.ask(cell, "cloud_offline", batch), optgauge.settings.gate)


def test_cloud_server(cell: Cell, batch: None, optgauge: Run) -> None:
    """Queries a second at the latency objective, by instances and threads, against FP32's."""
    raise_outcome(optgauge.ask(cell, "cloud_server", batch), optgauge.settings.gate)


def test_cloud_cost(cell: Cell, batch: None, optgauge: Run) -> None:
    """Money for a million inferences, against FP32's."""
    raise_outcome(optgauge.ask(cell, "cloud_cost", batch), optgauge.settings.gate)


def test_cloud_fleet(cell: Cell, batch: None, optgauge: Run) -> None:
    """Replica hours over a traffic trace, simulated, against FP32's."""
    raise_outcome(optgauge.ask(cell, "cloud_fleet", batch), optgauge.settings.gate)


def test_cloud_misses(cell: Cell, batch: None, optgauge: Run) -> None:
    """Queries that miss the objective over a traffic trace, simulated."""
    raise_outcome(optgauge.ask(cell, "cloud_misses", batch), optgauge.settings.gate)
