"""Answers within a deadline, one test a gate: `test_realtime_latency[resnet18-onnxruntime-cpu]`.

Collected where it is named: `pytest suites/test_realtime.py --deadline 50`. docs/serving.md tells
what is measured.
"""

from __future__ import annotations

from suites.matrix import Cell
from suites.outcomes import raise_outcome
from suites.run import Run


def test_realtime_answers(cell: Cell, batch: None, optgauge: Run) -> None:
    """The answers given under load score as the accuracy limit asks, and none is lost."""
    raise_outcome(optgauge.ask(cell, "realtime_answers", batch), optgauge.settings.gate)


def test_realtime_latency(cell: Cell, batch: None, optgauge: Run) -> None:
    """99 of 100 answers come within the deadline, one query after the other."""
    raise_outcome(optgauge.ask(cell, "realtime_latency", batch), optgauge.settings.gate)


def test_realtime_rate(cell: Cell, batch: None, optgauge: Run) -> None:
    """Queries a second within the deadline, by the best batching policy, against FP32's."""
    raise_outcome(optgauge.ask(cell, "realtime_rate", batch), optgauge.settings.gate)
