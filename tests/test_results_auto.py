"""auto beside the full matrix: which cell is its best, and how the table tells it."""

from __future__ import annotations

import reports_fixtures as made
import results_auto

from reports import cells as grouped
from reports import records


def row(**changes):
    told = {"model": "m", "allow": "structure", "found": "openvino", "best": "onnxruntime"}
    told |= {"status": "PASS", "class": "A", "log_ratios": [0.10, 0.11, 0.09, 0.10]}
    return {**told, "seconds": 30.0, "matrix_seconds": 100.0, "listed": 20, "tried": 9, **changes}


def test_the_best_of_the_matrix_keeps_the_accuracy_and_is_of_a_class_that_was_allowed(tmp_path):
    verdicts = [
        *made.cell("resnet18", "static_int8", speed=6.0),
        *made.cell("resnet18", "openvino_int8", speed=99.0, drop=0.08),
        *made.cell("resnet18", "prune_channels", cls="B", family="pruning", speed=10.0),
        *made.cell("resnet18", "distill", cls="C", family="distillation", speed=40.0),
    ]
    records.write(tmp_path / records.FILE, made.run_record(), verdicts)
    cells = grouped.group(records.read(tmp_path))
    found = {one: results_auto.fastest(cells, kinds) for one, kinds in results_auto.WIDTHS.items()}
    assert found == {
        "numerics": "static_int8", "structure": "prune_channels", "architecture": "distill",
    }  # fmt: skip
    assert results_auto.fastest(cells[:0], "A") is None


def test_the_table_tells_ratio_and_time_and_what_was_missed():
    lines = results_auto.table(
        [
            row(),
            row(found="onnxruntime"),
            row(log_ratios=[-0.10, -0.11, -0.09, -0.10], seconds=40.0),
            row(log_ratios=[-0.1, 0.1, 0.0, 0.02]),
            row(best=None),
        ]
    )
    assert "| 1.11× [1.09, 1.12] | 9 of 20 | 30 s of 100 s, 30%: reached |" in lines[2]
    assert "| the same |" in lines[3]
    assert "], slower |" in lines[4]
    assert "40%: MISSED" in lines[4]
    assert "(not told apart)" in lines[5]
    assert "none keeps the accuracy" in lines[6]
