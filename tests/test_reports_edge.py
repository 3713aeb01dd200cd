"""What the page tells of small devices: numbers, the artifact to take, the roofline."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from reports_fixtures import Record, run_record
from reports_html import Page

from gauge.verdict import SCALES
from reports import edge, render, roofline, summary
from reports.cells import Cell
from reports.deployment import choices
from reports.records import Records

MACHINE = {
    "flops": {"float32": 1e11, "int8": 9e11, "float16": None},
    "bandwidth": [[131072, 1e11], [268435456, 3e10]],
}
CERTIFIED = {"holds": True, "drop": 0.001, "drop_high": 0.0052, "run": "20261125T040000Z-ab12cd"}
NUMBERS = {
    "edge_artifact": 6.1e6,
    "edge_installed": 78e6,
    "edge_memory": 61e6,
    "edge_parameters": 1.5e6,
    "edge_macs": 56e6,
    "edge_traffic": 11e6,
    "edge_roofline": 0.42,
    "edge_cold_start": 0.094,
    "edge_energy": None,
}


def asked(
    technique: str,
    model: str = "vit",
    certified: Record | None = None,
    status: str = "NO_EXPECTATION",
    **numbers: float,
) -> list[Record]:
    """The edge verdicts of a cell; FP32 takes ten times as much."""
    found = []
    for gate, value in {**NUMBERS, **numbers}.items():
        evidence: dict[str, Any] = {}
        if gate == "edge_artifact":
            evidence["certified"] = certified
        if gate == "edge_roofline":
            roof = {"intensity": 10.0, "attainable": 1e11, "peak": 1e11, "bandwidth": 1e11}
            evidence = {"format": "float32", "roof": roof, "flops_per_s": 4e10, "median_s": 2e-3}
            evidence["machine"] = MACHINE
        if gate == "edge_installed":
            evidence["packages"] = {"onnxruntime": 45e6, "numpy": 30e6}
        unit, better = SCALES[gate]
        found.append(
            {
                "kind": "verdict",
                "schema": 1,
                "run": run_record()["run"],
                "cell": {"model": model, "technique": technique, "target": "cpu"},
                "id": f"{model}-{technique}-cpu",
                "class": "A",
                "family": "runtime",
                "gate": gate,
                "batch": None,
                "status": status,
                "value": value,
                "unit": unit,
                "better": better,
                "low": None,
                "high": None,
                "limit": None,
                "baseline": {"value": None if value is None else 10 * value},
                "candidate": {"value": value},
                "evidence": evidence,
                "reason": "not available: no counter" if value is None else "told",
                "seconds": 1.0,
                "command": f"pytest suites/test_edge.py --model {model} --technique {technique}",
            }
        )
    return found


def told(*cells: list[Record]) -> Records:
    return Records(run_record(selected_cells=len(cells)), [one for cell in cells for one in cell])


def cells(found: Records) -> list[Cell]:
    return [
        Cell(*key, [one for one in found.verdicts if tuple(one["cell"].values()) == key])
        for key in dict.fromkeys(tuple(one["cell"].values()) for one in found.verdicts)
    ]


FP32 = asked("none", **{gate: 10 * value for gate, value in NUMBERS.items() if value})


def test_the_smallest_certified_artifact_is_taken():
    small = asked("onnxruntime", certified=CERTIFIED)
    large = asked("openvino", certified=CERTIFIED, edge_installed=300e6)
    loose = asked("executorch_int8", edge_installed=1e6)
    (choice,) = choices(cells(told(FP32, small, large, loose)))
    assert choice.suite == "edge"
    assert choice.cell.technique == "onnxruntime"
    for part in ("of the bytes to install", "of the peak memory", "of the cold start"):
        assert f"10\u202f% {part}" in choice.gain
    assert "accuracy drop 0.10\u202fpt (≤\u202f0.52), certified by run" in choice.risk
    assert choice.command.startswith("pytest suites/test_edge.py ")


def test_where_nothing_is_certified_and_fp32_was_not_asked_nothing_is_taken():
    (choice,) = choices(cells(told(asked("executorch"), asked("onnxruntime"))))
    assert choice.cell is None
    assert choice.gain == (
        "nothing to choose by: no certified artifact, nor FP32, has edge_installed"
    )


def test_what_a_device_lacks_is_told_under_the_table():
    page = Page(render.page(told(FP32, asked("onnxruntime", edge_cold_start=None))))
    text = " ".join(one.text for one in page.elements)
    assert "– not available." in text
    assert "Cold start, Energy: no counter" in text


def test_units_suit_the_numbers():
    large = {"edge_installed": 3.73e9, "edge_cold_start": 9.41, "edge_parameters": 17226}
    ((_, rows),) = edge.tables(cells(told(asked("none", **large)))).items()
    numbers = dict(zip(edge.COLUMNS, rows[0][1], strict=True))
    found = [numbers[gate] for gate in (*large, "edge_roofline")]
    assert found == ["3.73\u202fGB", "9.41\u202fs", "17.2\u202fk", "42.0\u202f%"]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (asked("executorch"), "not certified"),
        (asked("executorch", certified={**CERTIFIED, "holds": False}), "with other weights"),
        (asked("executorch", certified=CERTIFIED, status="FAIL"), "accuracy drop"),
    ],
)
def test_nothing_is_taken_that_is_not_certified_or_misses_a_limit(other, why):
    (choice,) = choices(cells(told(FP32, other)))
    assert choice.cell.technique == "none"
    assert choice.gain == (
        "FP32 itself, 780\u202fMB to install, 610\u202fMB of memory, 940\u202fms to a first "
        "answer: no certified artifact is smaller"
    )
    assert why in edge.risk(cells(told(other))[0])


def test_the_page_holds_table_plot_and_answer():
    found = told(FP32, asked("onnxruntime", certified=CERTIFIED))
    page = Page(render.page(found))
    text = " ".join(one.text for one in page.elements)
    for part in (
        "On a small device",
        "With its runtime",
        "78.0\u202fMB",
        "42.0\u202f%",
        "94.0\u202fms",
    ):
        assert part in text, part
    assert "Roofline of cpu" in text
    assert "onnxruntime 45\u202fMB, numpy 30\u202fMB" in text
    markdown = summary.markdown(found)
    assert "| edge | `onnxruntime` |" in markdown


def test_a_page_without_edge_gates_says_nothing_of_it():
    assert "small device" not in render.page(told())


def test_the_roofline_names_each_artifact_and_needs_no_colours():
    (plot,) = roofline.plots(cells(told(FP32, asked("onnxruntime"))))
    assert "vit · onnxruntime · cpu: 40 GFLOP/s, 42.0 % of the roof" in plot.svg
    assert "2 artifacts" in plot.text
    assert "FP32 products" in plot.text
    assert "style=" not in plot.svg


def test_names_on_the_roofline_are_apart_and_no_mathematics():
    every = [asked(f"$t_{number}$") for number in range(3)]
    (plot,) = roofline.plots(cells(told(*every)))
    places = re.findall(r'y="([\d.]+)"[^>]*>\$t_(\d)\$<', plot.svg)
    heights = sorted(float(height) for height, _ in places)
    assert len(heights) == 3
    assert all(high - low > 8 for low, high in itertools.pairwise(heights))


@pytest.mark.parametrize("broken", [None, {}, [], "x", {"roof": {}, "flops_per_s": "fast"}])
def test_odd_evidence_is_left_out(broken):
    verdicts = asked("onnxruntime")
    for one in verdicts:
        one["evidence"] = broken if isinstance(broken, dict) else {}
    found = told(verdicts)
    assert roofline.plots(cells(found)) == []
    assert edge.edge_lines(cells(found)[0])
    assert render.page(found)


def test_hostile_names_stay_text():
    page = render.page(told(asked("<script>alert(1)</script>", model="<b>m</b>")))
    assert "<script>alert(1)" not in page
    Page(page)
