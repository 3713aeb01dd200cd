"""The rows of the table that a run prints at its end."""

from __future__ import annotations

from typing import NamedTuple

from reports import formats, names, training, view
from reports.records import Records
from reports.summarize import summarize


class Row(NamedTuple):
    """The best cell of a model, target and class; plain text without markup or controls.

    technique is empty when none keeps the accuracy; `note` says why then.
    """

    model: str
    target: str
    class_: str
    technique: str
    speedup: str
    drop: str
    size: str
    note: str


HEAD = Row("model", "target", "class", "technique", "speedup", "drop", "size", "")


class TrainingRow(NamedTuple):
    """A way to train a model against FP32 training; plain text without markup or controls."""

    model: str
    target: str
    technique: str
    steps_a_second: str
    speedup: str
    memory: str
    drop: str
    steps_taken: str


def training_table(records: Records) -> list[TrainingRow]:
    """Each way to train that was measured; empty where none was."""
    found = []
    for row in training.rows(one for one in summarize(records).cells if one.measured):
        numbers = (row.rates, row.speed, row.memory, row.drop, row.taken)
        texts = (row.cell.model, row.cell.target, row.cell.technique, *numbers)
        found.append(TrainingRow(*(names.short(names.plain(text), 60) for text in texts)))
    return found


def terminal_table(records: Records) -> list[Row]:
    """For each model, target and class the fastest technique that kept the accuracy."""
    rows = []
    for pick in summarize(records).picks:
        texts = [pick.model, pick.target, pick.class_ or "?"]
        if pick.cell is None:
            texts += ["", "", "", "", view.tally(pick.instead)]
        else:
            gates = {name: pick.cell.gate(name) for name in ("speed", "size")}
            speed, size = (
                formats.measured(verdict) if verdict else formats.ABSENT
                for verdict in gates.values()
            )
            note = "not faster than eager FP32" if pick.pays is False else ""
            drop = formats.drop(pick.cell.gate("accuracy"))
            texts += [pick.cell.technique, speed, drop, size, note]
        rows.append(Row(*(names.short(names.plain(text), 60) for text in texts)))
    return rows
