"""How trainings are told: on the page, in Markdown and in the terminal, beside other cells."""

from __future__ import annotations

from typing import Any

import pytest
from reports_fixtures import cell, run_record
from reports_fixtures import training as training_cell

from reports import charts, training_chart
from reports.cells import group
from reports.records import Records
from reports.render import page
from reports.summarize import summarize
from reports.summary import markdown
from reports.terminal import terminal_table, training_table


def trainings() -> list[dict[str, Any]]:
    return training_cell("lstm", "amp_fp16")


@pytest.fixture
def alone() -> Records:
    return Records(run_record(selected_cells=1), trainings())


@pytest.fixture
def beside() -> Records:
    verdicts = [*cell("lstm", "dynamic_int8"), *trainings()]
    return Records(run_record(selected_cells=2), verdicts)


def test_a_training_is_a_row_of_its_own_numbers(alone):
    (row,) = training_table(alone)
    assert row[:3] == ("lstm", "cpu", "amp_fp16")
    assert row.steps_a_second == "1234 → 2346"
    assert row.speedup.startswith("1.90×")
    assert row.drop.startswith("0.10")
    assert row.steps_taken == "2334 of 2340, scale 16384"


def test_what_was_not_measured_is_not_available_on_the_page_and_no_row_in_the_terminal():
    refused = [{**one, "status": "REFUSED", "value": None, "evidence": {}} for one in trainings()]
    found = Records(run_record(), refused)
    assert training_table(found) == []
    assert page(found).count("not available") >= 5


def test_no_way_to_train_is_recommended_as_an_optimised_model(alone, beside):
    assert terminal_table(alone) == []
    assert [row.technique for row in terminal_table(beside)] == ["dynamic_int8"]
    found = summarize(beside)
    assert {mean.technique for mean in found.means} == {"dynamic_int8"}
    assert {key[1] for key in found.pareto} == {"dynamic_int8"}


def test_the_page_has_a_section_for_trainings_and_leaves_out_what_only_models_have(alone, beside):
    text = page(alone)
    assert 'id="training"' in text
    assert "Training curves of lstm · amp_fp16 · cpu" in text
    assert "FP32 1234 → 2346 steps of 50 samples a second" in text
    assert "seed 2: 778 of 780 steps taken, 2 skipped" in text
    assert 'id="recommended"' not in text
    assert 'href="#recommended"' not in text
    both = page(beside)
    assert 'id="training"' in both
    assert 'id="recommended"' in both
    assert both.count("amp_<wbr>fp16") == 3  # training, every cell, its own section


def test_a_page_without_trainings_has_no_section_for_them():
    text = page(Records(run_record(), cell("lstm", "dynamic_int8")))
    assert "Training curves" not in text
    assert 'id="training"' not in text
    assert 'href="#training"' not in text


def test_markdown_tells_the_same(alone):
    text = markdown(alone)
    assert "## Training, against FP32 training" in text
    assert "1234 → 2346" in text
    assert "## Recommended" not in text


def test_a_curve_without_two_points_is_not_drawn():
    records = trainings()
    lost = {"seed": 0, "baseline": [[1, 0.5]], "candidate": [[1, None]]}
    records[0]["evidence"] = {"curves": [lost]}
    assert training_chart.curves(group(Records(run_record(), records))) == []


def test_many_trainings_do_not_make_the_page_grow():
    records = [one for model in range(30) for one in training_cell(f"m{model}", "amp_fp16")]
    text = page(Records(run_record(selected_cells=30), records))
    assert text.count("Training curves of") == charts.MOST_PLOTS
    assert len(text) < 1_500_000
