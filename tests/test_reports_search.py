"""A search on the page: lines, front and history; whatever its record holds."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from reports import search_chart
from reports.cells import Cell
from reports.detail import details
from reports.view import section


def trial(right: Any, latency: Any, **choice: Any) -> dict[str, Any]:
    return {"right": right, "latency_ms": latency, "choice": choice or {"width": 8}}


def cell(notes: Any) -> Cell:
    stages = [{"technique": "nas_evolution", "seconds": 1.0, "notes": notes}]
    common = {"cell": {}, "id": "m-t-cpu", "class": "C", "batch": None, "status": "PASS"}
    return Cell("m", "t", "cpu", [{**common, "gate": "evidence", "evidence": {"stages": stages}}])


def notes(**changes: Any) -> dict[str, Any]:
    search = {
        "strategy": "evolution",
        "candidates": 54,
        "samples": 500,
        "trials": [trial(0.9, 2.0, width=16), trial(0.7, 1.0), trial(0.5, 3.0)],
        "front": [1, 0],
        "chosen": 0,
        "returned": {"of": "evolution", "trial": 0},
        "beside": {
            "chance": {"trials": [trial(0.8, 2.5, width=8), trial(0.6, 3.0)], "chosen": 0},
            "scaled down": {"trials": [trial(0.75, 1.5, width=4)], "chosen": 0},
        },
    }
    return {"search": {**search, **changes}, "budget": {"latency_ms": 2.5, "missed_by": {}}}


def plain(lines: list[str]) -> list[str]:
    """With plain spaces before a per cent sign."""
    return [line.replace("\N{NARROW NO-BREAK SPACE}", " ") for line in lines]


def test_the_best_score_is_told_where_a_cheaper_one_near_it_was_returned():
    told = notes(best=0, returned={"of": "evolution", "trial": 1}, by="bytes")
    lines = plain(search_chart.lines(cell(told)))
    assert lines[1].startswith("returned: trial 1, 70.00 %")
    assert lines[2] == (
        "best score: trial 0, 90.00 %, 2 ms (width 16); the returned one is within one standard "
        "error, and smaller"
    )
    same = search_chart.lines(cell(notes(best=0, by="latency_ms")))
    assert not [one for one in same if one.startswith("best score")]


def test_the_front_is_told_fastest_first_with_what_was_chosen():
    assert plain(dict(details(cell(notes())))["Search"]) == [
        "3 trials of 54 candidates by evolution, scored on 500 samples of training",
        "returned: trial 0, 90.00 %, 2 ms (width 16)",
        "budget 2.5 ms: kept",
        "chance, 2 trials: trial 0, 80.00 %, 2.5 ms (width 8)",
        "scaled down, 1 trial: trial 0, 75.00 %, 1.5 ms (width 4)",
        "front: trial 1, 70.00 %, 1 ms (width 8)",
        "front: trial 0, 90.00 %, 2 ms (width 16)",
    ]


def test_a_missed_budget_is_told():
    missed = {**notes(), "budget": {"size_mb": 0.5, "missed_by": {"size": 0.25}}}
    assert "budget 0.5 MB: size over it by 25.00 %" in plain(search_chart.lines(cell(missed)))


def test_a_candidate_of_chance_is_told_as_such():
    told = plain(search_chart.lines(cell(notes(returned={"of": "chance", "trial": 1}))))
    assert told[1] == (
        "returned: trial 1, 60.00 %, 3 ms (width 8), of chance: no own candidate is within the "
        "limits"
    )


def test_every_trial_is_drawn_with_its_name_and_nothing_needs_styles():
    root = ElementTree.fromstring(search_chart.plot(cell(notes()), "s1"))
    told = plain([str(one.text) for one in root.iter("title")])
    assert "evolution: trial 2, 50.00 %, 3 ms (width 8)" in told
    assert "chance: trial 1, 60.00 %, 3 ms (width 8)" in told
    assert len(told) == 7  # one a trial, and the plot's own
    words = [str(one.text) for one in root.iter() if one.tag.endswith("text")]
    assert {"evolution", "chance", "scaled down"} <= set(words)
    assert not [one for one in root.iter() if "style" in one.attrib]
    ids = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    assert ids
    assert all(one.startswith("s1") for one in ids)


def test_a_hostile_record_stays_text():
    evil = trial(0.5, 1.0, **{"</title><script>x</script>": "<img src=x>"})
    named = {"$\\frac{<script>$": {"trials": [evil], "chosen": 0}}
    hostile = notes(trials=[evil], beside=named, strategy="<img onerror=x>")
    svg = str(search_chart.plot(cell(hostile), "s1"))
    assert "<script" not in svg
    assert "<img" not in svg
    assert "&lt;img" in svg


@pytest.mark.parametrize(
    "odd",
    [
        None,
        {},
        {"search": 3},
        notes(trials=None),
        notes(trials=[3, trial("x", 1.0), trial(0.5, None), trial(0.5, 0.0), trial(2.0, 1.0)]),
    ],
)
def test_a_record_of_another_shape_is_left_out(odd):
    assert "Search" not in dict(details(cell(odd)))
    assert section(cell(odd), 0)["plots"] == []


def test_what_cannot_be_drawn_leaves_the_rest():
    assert search_chart.lines(cell(notes(front="x", returned=77)))[0].startswith("3 trials")
    odd = {"a": 3, "b": {"trials": "x", "chosen": []}, "c": {"trials": [trial(2.0, 1.0)]}}
    for beside in (None, 7, odd):
        assert search_chart.lines(cell(notes(beside=beside)))
        assert search_chart.plot(cell(notes(beside=beside)), "s1")
    assert search_chart.plot(
        cell({**notes(front=[9], returned={"of": [], "trial": {}}), "budget": 4}), "s1"
    )


def test_a_long_page_has_the_lines_without_the_plot():
    assert section(cell(notes()), 0)["plots"]
    assert section(cell(notes()), 1)["plots"] == []
