"""Loads in the report: what to deploy, in words, and the curves."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_fixtures import RUN, run_record

from reports import render, summary
from reports.cells import Cell
from reports.deployment import choices
from reports.detail import details
from reports.records import Records
from reports.serving_charts import charts
from reports.summarize import summarize
from suites import terminal

POINTS = [
    {"largest_batch": 1, "wait_ms": 0.0, "rate": 100.0, "p99_s": 0.04},
    {"largest_batch": 8, "wait_ms": 0.0, "rate": 190.0, "p99_s": 0.045},
    {"largest_batch": 8, "wait_ms": 5.0, "rate": 170.0, "p99_s": 0.048},
    {"largest_batch": 16, "wait_ms": 0.0, "rate": None, "p99_s": 0.06},
]
HOW = {"least_seconds": 5.0, "mlperf_seconds": 600, "own_cpu": True, "processes": 2}
OVERHEAD = {"loadgen": {"p50_s": 3e-6, "p99_s": 5e-6}, "server": {"p50_s": 3e-5, "p99_s": 6e-5}}


def verdict(technique: str, gate: str, **fields: Any) -> dict[str, Any]:
    defaults = {
        "kind": "verdict",
        "schema": 1,
        "run": RUN,
        "cell": {"model": "m", "technique": technique, "target": "cpu"},
        "id": f"m-{technique}-cpu",
        "class": "A",
        "family": "quantisation",
        "gate": gate,
        "batch": None,
        "status": "PASS",
        "value": 1.5,
        "unit": "ratio",
        "better": "higher",
        "low": None,
        "high": None,
        "limit": None,
        "baseline": {},
        "candidate": {},
        "evidence": {},
        "reason": None,
        "seconds": 1.0,
        "command": f"pytest suites/test_{gate.partition('_')[0]}.py --technique {technique}",
    }
    return {**defaults, **fields}


def realtime(technique: str, value: float, **fields: Any) -> list[dict[str, Any]]:
    candidate = {"rate": 100 * value, "largest_batch": 8, "wait_ms": 0.0}
    told = {"deadline_s": 0.05, **HOW, "overhead": OVERHEAD}
    search = {"search": {"points": POINTS}, "baseline_search": {"points": POINTS[:2]}}
    return [
        verdict(technique, "realtime_answers", value=0.001, high=0.006),
        verdict(
            technique,
            "realtime_latency",
            value=0.4,
            candidate={"p50_s": 0.01, "p90_s": 0.015, "p99_s": 0.02, "bound_s": 0.021},
            evidence={**told, "multi_stream": {"p50_s": 0.03, "p90_s": 0.03, "p99_s": 0.04}},
        ),
        verdict(
            technique,
            "realtime_rate",
            value=value,
            candidate=candidate,
            evidence={**told, **search, "batch_1": {"rate": 100.0}},
            **fields,
        ),
    ]


def cloud(technique: str, value: float, example: bool = True) -> list[dict[str, Any]]:
    price = {"hour": 0.1, "currency": "USD", "example": example, "source": "policy.toml:3"}
    timeline = [[0.0, 50.0, 1], [10.0, 90.0, 2], [20.0, 40.0, 1]]
    fleet = {
        "simulated": True,
        "trace": "built-in day",
        "queries": 1200,
        "misses": 0.002,
        "p99_s": 0.03,
        "mean_replicas": 1.4,
        "most_replicas": 2,
        "timeline": timeline,
        "cold_start_s": 4.2,
    }
    return [
        verdict(technique, "cloud_answers", value=0.0, high=0.004),
        verdict(
            technique,
            "cloud_server",
            value=value,
            candidate={"rate": 160 * value},
            evidence={
                **HOW,
                "layouts": [{"instances": 2, "threads": 1, "rate": 320.0, "valid": True}],
            },
        ),
        verdict(
            technique,
            "cloud_cost",
            value=1 / value,
            baseline={"cost_per_million": 0.3},
            candidate={"cost_per_million": 0.15},
            evidence={"price": price},
        ),
        verdict(
            technique,
            "cloud_fleet",
            value=0.5,
            candidate={**fleet, "replica_hours": 0.5},
            baseline={**fleet, "mean_replicas": 2.8, "replica_hours": 1.0},
        ),
        verdict(technique, "cloud_misses", value=0.002, unit="fraction"),
    ]


def cells(*groups: list[dict[str, Any]]) -> list[Cell]:
    return list(summarize(Records(run_record(), list(itertools.chain(*groups)))).cells)


def test_the_best_artifact_is_told_with_its_gain_risk_and_command():
    (one,) = choices(cells(realtime("none", 1.0), realtime("slow", 1.2), realtime("fast", 1.9)))
    assert one.cell is not None
    assert (one.cell.technique, one.suite) == ("fast", "realtime")
    assert one.gain.startswith("1.90× queries a second: 190 a second within 50")
    assert "with batches of up to 8, no wait, one by one 99 of 100 within 21" in one.gain
    assert "accuracy under load drops 0.10" in one.risk
    assert one.command == "pytest suites/test_realtime.py --technique fast"


def test_what_fails_a_gate_is_not_deployed_and_what_is_undecided_is_a_risk():
    found = cells(
        realtime("none", 1.0),
        realtime("wrong", 3.0, status="FAIL", reason="too slow"),
        realtime("open", 2.0, status="INCONCLUSIVE", reason="processes differ"),
    )
    (one,) = choices(found)
    assert one.cell is not None
    assert one.cell.technique == "open"
    assert one.risk.startswith("undecided or waived: realtime_rate; ")


def test_an_artifact_is_told_though_fp32_gave_no_rate():
    found = [*realtime("none", 0.5), *realtime("fast", 1.9)]
    for one in found:
        if one["gate"] == "realtime_rate":
            one |= {"value": None, "status": "NO_BASELINE", "reason": "FP32 is always late"}
    (one,) = choices(cells(found))
    assert one.cell is not None
    assert one.cell.technique == "fast"
    assert one.gain.startswith("190 a second within 50")


def test_where_nothing_keeps_its_gates_nothing_is_deployed():
    (one,) = choices(cells(realtime("none", 1.0, status="FAIL", reason="late")))
    assert one.cell is None
    assert one.gain == "none of 1 artifact keeps realtime_rate"


def test_fp32_is_told_where_nothing_is_better():
    (one,) = choices(cells(realtime("none", 1.0), realtime("slow", 0.8)))
    assert one.gain.startswith("FP32 itself, 100 a second within 50")
    assert one.gain.endswith(": no artifact is better")
    (alone,) = choices(cells(realtime("none", 1.0)))
    assert alone.gain.endswith(": no artifact was asked beside it")


def test_without_a_rate_nothing_is_chosen():
    found = [one for one in realtime("fast", 1.9) if one["gate"] != "realtime_rate"]
    (one,) = choices(cells(found))
    assert one.cell is None
    assert one.gain == "nothing to choose by: no artifact has a rate within the deadline"
    assert one.command == "pytest suites/test_realtime.py --technique fast"


def test_simulated_figures_and_example_prices_are_marked():
    (one,) = choices(cells(cloud("none", 1.0), cloud("fast", 2.0)))
    assert "0.50× cost (an example price)" in one.gain
    assert "replica hours (simulated)" in one.gain
    assert "of queries miss the objective (simulated)" in one.risk
    (own,) = choices(cells(cloud("fast", 2.0, example=False)))
    assert "example" not in own.gain


def test_loads_are_told_in_words():
    (one,) = cells([*realtime("fast", 1.9), *cloud("fast", 2.0)])
    told = dict(details(one))
    text = "\n".join([*told["Real time"], *told["Cloud"]])
    for part in (
        "deadline 50",
        "batch 1: 100 a second; batches of up to 8, no wait: 190 a second",
        "where MLPerf asks for 600 s",
        "LoadGen has a CPU of its own",
        "LoadGen's own overhead p50 3",
        "instances × threads: 2 × 1 320 a second",
        "a million inferences: 0.15 USD, FP32 0.3 (an example price)",
        "simulated over built-in day: 1200 queries",
        "cold start 4.20\u202fs (measured, importing torch included)",
        "FP32 2.80 replicas",
    ):
        assert part in text, part


def test_the_curve_and_the_fleet_are_drawn():
    (one,) = cells([*realtime("fast", 1.9), *cloud("fast", 2.0)])
    text = str(charts(one))
    assert text.count("<svg") == 2
    assert "Queries a second within the deadline" in text
    assert "replicas (simulated)" in text
    (odd,) = cells([*realtime("$a_{$", 1.9), *cloud("$a_{$", 2.0)])
    assert str(charts(odd)).count(">$a_{$<") == 2
    (bare,) = cells([verdict("fast", "realtime_rate")])
    assert charts(bare) == ""


def test_the_page_and_the_summary_have_the_table():
    found = Records(
        run_record(), [*realtime("none", 1.0), *realtime("fast", 1.9), *cloud("fast", 2)]
    )
    page = render.page(found)
    assert "Which artifact, what it gains over FP32, at what risk" in page
    assert "pytest suites/test_cloud.py --technique fast" in page
    assert "own overhead p50 3" in page
    assert "Recommended" not in page
    assert "Techniques over all models" not in page
    text = summary.markdown(found)
    assert "## Deployment" in text
    assert "| cloud |" in text


def test_what_fails_is_repeated_by_its_own_suite_s_command():
    slow = [*realtime("slow", 1.2), *cloud("slow", 0.5)]
    for one in slow:
        if one["gate"] == "cloud_server":
            one |= {"status": "FAIL", "reason": "slower"}
    found = Records(run_record(), slow)
    page = render.page(found)
    why = page[page.index('<section aria-labelledby="why">') :]
    why = why[: why.index("</section>")]
    assert "pytest suites/test_cloud.py --technique slow" in why
    assert "test_realtime.py" not in why
    section = page[page.index('<section aria-labelledby="sections">') :]
    for suite in ("realtime", "cloud"):
        assert f"pytest suites/test_{suite}.py --technique slow" in section
    text = summary.markdown(found)
    failing = text[text.index("## Failing gates") : text.index("## Deployment")]
    assert "pytest suites/test_cloud.py --technique slow" in failing
    assert "test_realtime.py" not in failing


def test_the_terminal_tells_gain_risk_command_and_overhead():
    found = summarize(Records(run_record(), [*realtime("none", 1.0), *realtime("fast", 1.9)]))
    title, place, gain, risk, command, overhead = terminal._deployments(found)
    assert title == "deployment, over FP32:"
    assert place == "  m on cpu, real time: fast"
    assert gain.startswith("    1.90× queries a second: 190 a second within 50")
    assert risk.startswith("    risk: accuracy under load drops 0.10")
    assert command == "    pytest suites/test_realtime.py --technique fast"
    assert overhead.startswith("  LoadGen's own overhead p50 3")
    assert terminal._deployments(summarize(Records(run_record(), []))) == []


def test_no_two_empty_lines_follow_each_other():
    lines = ["", "a table", "", "", "another", "", "", "", "end"]
    assert terminal.single_spaced(lines) == ["", "a table", "", "another", "", "end"]
    assert terminal.single_spaced([]) == []


SCRAP = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "search points rate largest_batch wait_ms overhead loadgen p50_s timeline "
                "price layouts multi_stream bound_s batch_1 least_seconds mlperf_seconds".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "gate", ["realtime_latency", "realtime_rate", "cloud_server", "cloud_cost", "cloud_fleet"]
)
@given(evidence=SCRAP, candidate=SCRAP)
def test_records_of_another_shape_break_nothing(gate, evidence, candidate):
    one = verdict("fast", gate, evidence=evidence, candidate=candidate)
    cell = Cell("m", "fast", "cpu", [one])
    details(cell)
    choices([cell])
