"""Markdown, terminal rows, colours and the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt  # rich brings it
from reports_fixtures import Record, cell, lost_cell, run_record, verdict
from reports_html import Page
from reports_matrix import matrix
from test_architecture import POLICY

from reports import __main__ as command
from reports import records, summary, terminal, trust
from reports.records import Records
from reports.summarize import summarize

TEMPLATES = Path(command.__file__).parent / "templates"


def _markdown(verdicts: list[Record], **run: Any) -> str:
    return summary.markdown(Records(run_record(**run), verdicts))


def test_the_summary_holds_what_a_jobs_page_needs() -> None:
    text = _markdown(matrix(70, samples=3), selected_cells=70)
    assert text.startswith("# ✗ HOLD\n\n")
    for part in (
        "## Failing gates, worst first", "## Recommended", "## Can it be trusted", "## Coverage",
        "- 3 cells: channels_last needs a convolution", "`pytest 'suites/' --target cpu --model",
        "- ✓ A/A comparison: 5 copies of FP32 against itself", "`python -m reports render DIR`",
    ):  # fmt: skip
        assert part in text
    assert "No gate fails." in _markdown(cell("m", "t"))


def test_names_cannot_leave_their_table_cell_or_become_markup() -> None:
    odd = "a|b`c``<img src=x>*d*\n| e | \u202e[f](g)"
    verdicts = cell(odd, odd, speed=0.5) + cell(odd, "int8", speed=2.0)
    for record in verdicts:
        record |= {"reason": odd, "command": f"pytest {odd}"}
    text = _markdown(verdicts, command=f"pytest {odd}", notices=[odd], aa_warning=odd)
    shown = Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert not [one for tag in ("img", "em", "a") for one in shown.all(tag)]
    tables = shown.all("table")
    assert [len(table.all("th")) for table in tables] == [6, 8]
    for table in tables:
        for row in table.all("tr"):
            assert len(row.children) == len(table.all("th"))
    name = "a|b`c``<img src=x>*d* | e | [f](g)"
    assert [one.text for one in tables[1].all("code")] == [name, "cpu", "int8"]
    first = tables[0].all("td")
    assert first[0].text == f"{name} · {name} · cpu"
    assert first[4].text == "a|b`c``<img src=x>*d*"  # the cause's first line, no code
    assert "\u202e" not in text


def test_the_summary_stays_under_a_mebibyte_whatever_the_names() -> None:
    verdicts = []
    for index in range(300):
        name = f"{index}" + "é" * 20_000
        verdicts += cell(name, name, speed=0.5, drop=0.5, samples=1)
        verdicts += cell(name, "good", samples=1)
        verdicts += lost_cell(name, "lost", "REFUSED", name)
    text = _markdown(verdicts)
    assert len(text.encode()) < 1_000_000
    assert "more are in index.html." in text


def test_a_summary_that_is_still_too_long_says_that_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary, "MOST_BYTES", 3000)
    text = _markdown(matrix(70, samples=3))
    assert len(text.encode()) < 3100
    assert text.endswith("Cut off here: the rest is in index.html.\n")


def test_terminal_rows_are_plain_and_say_why_there_is_none() -> None:
    verdicts = cell("a\x1b[31m\n", "int8", speed=3.0) + cell("b", "bad", drop=0.3)
    verdicts += cell("c", "none", speed=1.0)
    first, second, third = terminal.terminal_table(Records(run_record(), verdicts))
    assert first.model == "a\ufffd[31m"
    assert (first.technique, first.size) == ("int8", "0.50×")
    assert first.speedup == "3.00× [2.96, 3.04]"
    assert (second.technique, second.note) == ("", "accuracy fails (1)")
    assert third.note == "not faster than eager FP32"
    assert len(first) == len(terminal.HEAD)


@pytest.mark.parametrize(
    ("changes", "title", "state"),
    [
        ({}, "Run", "good"),
        ({"complete": False}, "Run", "bad"),
        ({"selected_cells": 5}, "Run", "bad"),
        ({}, "A/A comparison", "good"),
        ({"contaminated": True}, "A/A comparison", "bad"),
        ({"aa_warning": "SD of the A/A cells is 1.3 %"}, "A/A comparison", "warn"),
        ({"aa": []}, "A/A comparison", "unknown"),
        ({}, "Commit", "good"),
        ({"dirty": True}, "Commit", "warn"),
        ({"dirty": None}, "Commit", "unknown"),
        ({"commit": None}, "Commit", "unknown"),
        ({}, "Threads", "good"),
        ({"machine": {"threads": 4, "quota": 2.0}}, "Threads", "bad"),
        ({"machine": None}, "Threads", "unknown"),
        ({"notices": ["ldd is not there"]}, "Notice", "warn"),
    ],
)
def test_the_checklist_advises_wherever_all_is_not_well(
    changes: dict[str, Any], title: str, state: str
) -> None:
    run = run_record(**({"selected_cells": 1} | changes))
    found = trust.checks(summarize(Records(run, cell("m", "t"))))
    (check,) = [check for check in found if check.title == title]
    assert check.state == state
    assert bool(check.advice) == (state != "good") or title == "Notice" or run["dirty"] is None


def _colours(block: str) -> dict[str, str]:
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))
    return {n: v if len(v) == 7 else "#" + "".join(c * 2 for c in v[1:]) for n, v in found.items()}


def _luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_texts_reach_aa_contrast_in_both_colour_schemes(dark: bool) -> None:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    light_block, dark_block = style.split("prefers-color-scheme: dark", 1)
    colours = _colours(dark_block.split("* {")[0] if dark else light_block)
    assert len(colours) == 12
    for ground in ("bg", "soft"):
        for ink in ("fg", "quiet", "good", "bad", "warn", "link"):
            assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for name in ("good", "bad", "warn"):
        assert _contrast(colours[name], colours[f"{name}-bg"]) >= 4.5, name
        assert _contrast(colours["quiet"], colours[f"{name}-bg"]) >= 4.5, name


@pytest.mark.parametrize("dark", [False, True])
def test_marks_of_the_plots_reach_the_contrast_of_graphics(dark: bool) -> None:
    from reports.charts import COLOURS

    for colour in COLOURS.values():
        assert _contrast(colour, "#14171a" if dark else "#ffffff") >= 3.0


def test_nothing_of_reports_imports_torch_and_the_page_imports_no_pyplot(tmp_path: Path) -> None:
    path = records.write(tmp_path / records.FILE, run_record(), matrix(20, samples=3))
    code = (
        "import sys; from reports.__main__ import main; from reports import terminal\n"
        "code = main(['render', sys.argv[1]])\n"
        "assert not {'torch', 'onnxruntime', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert not {'zoo', 'optimizers', 'suites'} & set(sys.modules)\n"
        "loaded = {m for m in sys.modules if m.startswith('gauge.')}\n"
        f"assert loaded <= set({POLICY}), loaded\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'index.html'}\n"


def test_render_writes_beside_the_records_or_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records.write(tmp_path / records.FILE, run_record(), cell("m", "t"))
    assert command.main(["render", str(tmp_path)]) == 0
    assert command.main(["render", str(tmp_path), "--out", str(tmp_path / "new" / "place")]) == 0
    for name in ("index.html", "summary.md"):
        here, there = (tmp_path / name, tmp_path / "new" / "place" / name)
        assert here.read_bytes() == there.read_bytes()
    assert capsys.readouterr().err == ""


def test_damaged_records_are_an_error_unless_the_whole_part_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = records.write(tmp_path / records.FILE, run_record(), cell("m", "t"))
    path.write_bytes(path.read_bytes()[:-100])
    assert command.main(["render", str(tmp_path)]) == 4
    assert f"error: {path}:10: a line that is cut off" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()
    assert command.main(["render", str(tmp_path), "--partial"]) == 0
    assert f"warning: {path}:10: " in capsys.readouterr().err
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "INCONCLUSIVE</h1>" in text
    assert "in the record file" in text


@pytest.mark.parametrize("words", [[], ["render"], ["draw", "x"], ["render", "a", "--no-such"]])
def test_wrong_use_exits_as_pytest_does(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 4
    assert "usage: python -m reports" in capsys.readouterr().err


def test_missing_records_and_an_unwritable_place_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["render", str(tmp_path / "nowhere")]) == 4
    assert "there is no such record file" in capsys.readouterr().err
    records.write(tmp_path / records.FILE, run_record(), [verdict("m", "t", "size")])
    (tmp_path / "file").write_text("")
    assert command.main(["render", str(tmp_path), "--out", str(tmp_path / "file")]) == 4
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["render", "--help"]])
def test_help_says_that_nothing_is_measured(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert re.search("without measuring|measures nothing", text)
