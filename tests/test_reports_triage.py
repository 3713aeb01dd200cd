"""The order of triage in the summary, on the page and in the terminal."""

from __future__ import annotations

from typing import Any

import pytest
from reports_fixtures import Record, run_record, verdict

from reports import records, render, schema, summary
from reports.records import Records
from reports.summarize import summarize
from suites import terminal


def judged(technique: str, status: str, p: float, q: float, gate: str = "speed") -> Record:
    return verdict(
        "vit",
        technique,
        gate,
        batch=1 if gate == "speed" else None,
        status=status,
        limit={"min": 1.0, "max": None, "source": "policy.toml:7"},
        value=0.9,
        evidence={"triage": {"p": p, "q": q, "of": 36}},
        reason="slow",
    )


VERDICTS = [
    judged("late", "INCONCLUSIVE", 0.03, 0.2),
    judged("sure", "FAIL", 0.00001, 0.0004),
    judged("good", "PASS", 0.9, 1.0),
    judged("next", "INCONCLUSIVE", 0.002, 0.04),
    verdict("vit", "broken", "evidence", status="FAIL", reason="no kernel"),
]


def order(**run: Any) -> list[str]:
    found = summarize(Records(run_record(**run), VERDICTS))
    return [line.cell.technique for line in found.triage]


def test_failing_and_undecided_gates_come_surest_first_and_a_release_has_no_such_list() -> None:
    assert order() == ["sure", "next", "late"]
    assert order(gate="release") == []


def test_the_summary_lists_them_with_their_q_values() -> None:
    text = summary.markdown(Records(run_record(), VERDICTS))
    part = text.partition("## Triage, surest first")[2].partition("\n## ")[0]
    assert "over 36 gates" in part
    assert part.index("4e-4") < part.index("0.040") < part.index("0.200")
    assert "## Triage" not in summary.markdown(Records(run_record(), VERDICTS[2:3]))


def test_the_page_lists_them(tmp_path) -> None:
    records.write(tmp_path / records.FILE, run_record(), VERDICTS)
    render.render(tmp_path, tmp_path)
    page = (tmp_path / "index.html").read_text()
    part = page.partition("Triage: 3 gates, the surest first")[2].partition("</table>")[0]
    assert part.index("sure") < part.index("next") < part.index("late")
    assert "0.040" in part


def test_the_terminal_lists_them() -> None:
    lines = terminal._triage(summarize(Records(run_record(), VERDICTS)))
    assert "over 36 gates" in lines[0]
    assert lines[1].startswith("  q 4e-4 FAIL vit-sure-cpu speed b1: 0.90×, asked")
    assert len(lines) == 4
    many = [judged(f"t{number}", "FAIL", 0.01, 0.02) for number in range(12)]
    lines = terminal._triage(summarize(Records(run_record(), many)))
    assert lines[-1] == "  … and 2 more in the report"


@pytest.mark.parametrize("wrong", [{"p": 0.1}, {"p": 2.0, "q": 0.1, "of": 3}, {"p": "x"}])
def test_a_record_with_half_a_triage_is_refused(wrong) -> None:
    record = {**VERDICTS[0], "evidence": {"triage": wrong}}
    assert "triage" in schema.problem(record, "verdict")
    assert schema.problem(VERDICTS[0], "verdict") is None
