"""The table of docs/results.md that tells how mixed precision trains: from records, as the page."""

from __future__ import annotations

from collections.abc import Sequence

from results_tables import table

from reports import training
from reports.cells import Cell

TOLD = (
    "Each way to train against FP32 training from the same weights with the same batches: a step in"
    " turns in one process, the peak memory of the first steps, the drop of the trained model's"
    " score over seeds (with the bound that decides), and updates made of those tried. FP16 on a"
    " CPU takes 20 steps only, and nothing is said of its accuracy."
)


def section(cells: Sequence[Cell]) -> list[str]:
    """Lines of Markdown: a row a model and way to train."""
    rows = [
        [
            row.cell.model,
            f"`{row.cell.technique}`",
            row.rates,
            row.speed,
            row.memory,
            row.drop,
            row.taken,
            row.cell.status,
        ]
        for row in training.rows(cells)
        if row.cell.measured
    ]
    if not rows:
        return ["Not measured: add the report of `pytest suites/test_training.py`."]
    head = ["model", "training", "steps a second", "speedup", "memory", "drop", "steps", "verdict"]
    return [TOLD, "", *table(head, rows)]
