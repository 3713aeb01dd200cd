"""What an artifact takes of a small device: pytest suites/test_edge.py --model mobilenet_v3_small

Asked where this file is named, of FP32 and the best certified artifact of each class.
"""

from __future__ import annotations

from suites.matrix import Cell
from suites.outcomes import raise_outcome
from suites.run import Run


def test_edge_artifact(cell: Cell, batch: None, optgauge: Run) -> None:
    """The bytes of the artifact's files."""
    raise_outcome(optgauge.ask(cell, "edge_artifact", batch), optgauge.settings.gate)


def test_edge_installed(cell: Cell, batch: None, optgauge: Run) -> None:
    """Those and the files of installed packages that its first answer needed."""
    raise_outcome(optgauge.ask(cell, "edge_installed", batch), optgauge.settings.gate)


def test_edge_memory(cell: Cell, batch: None, optgauge: Run) -> None:
    """Peak memory of the whole process, from its start to its first answer."""
    raise_outcome(optgauge.ask(cell, "edge_memory", batch), optgauge.settings.gate)


def test_edge_parameters(cell: Cell, batch: None, optgauge: Run) -> None:
    """Parameters of the structure that it computes."""
    raise_outcome(optgauge.ask(cell, "edge_parameters", batch), optgauge.settings.gate)


def test_edge_macs(cell: Cell, batch: None, optgauge: Run) -> None:
    """Multiply-accumulates of a call, by torch's counter."""
    raise_outcome(optgauge.ask(cell, "edge_macs", batch), optgauge.settings.gate)


def test_edge_traffic(cell: Cell, batch: None, optgauge: Run) -> None:
    """The fewest bytes that a call moves, and FLOP for each of them."""
    raise_outcome(optgauge.ask(cell, "edge_traffic", batch), optgauge.settings.gate)


def test_edge_roofline(cell: Cell, batch: None, optgauge: Run) -> None:
    """The share of what this machine could do that a call reaches."""
    raise_outcome(optgauge.ask(cell, "edge_roofline", batch), optgauge.settings.gate)


def test_edge_cold_start(cell: Cell, batch: None, optgauge: Run) -> None:
    """From the start of a process to its first answer."""
    raise_outcome(optgauge.ask(cell, "edge_cold_start", batch), optgauge.settings.gate)


def test_edge_energy(cell: Cell, batch: None, optgauge: Run) -> None:
    """Energy of a call, where a counter tells."""
    raise_outcome(optgauge.ask(cell, "edge_energy", batch), optgauge.settings.gate)
