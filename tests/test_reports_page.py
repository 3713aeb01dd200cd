"""The page is whole, safe and readable: by machines, without styles, without network."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_fixtures import Record, cell, lost_cell, run_record, verdict
from reports_html import Page
from reports_matrix import matrix

from reports import records, render, schema
from reports.records import Records

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</title></style></script><b>",
    "'; {{ 7 * 7 }} {% raw %} -->",
    "]]>&lt;&amp;",
    "نموذج\u202egnp.exe",
    "模型 \U0001f600 é",
    "x" * 5000,
    "a|b`c``d*e_f$g\\h",
    "nul\x00bell\x07\udce9",
    "javascript:alert(1)",
]  # fmt: skip


def _page(verdicts: list[Record], **run: Any) -> str:
    run.setdefault("selected_cells", None)
    return render.page(Records(run_record(**run), verdicts))


@pytest.fixture(scope="module")
def text() -> str:
    """A page with cells of every status."""
    return _page(matrix(70, samples=20), selected_cells=70)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def hostile() -> Page:
    """A page on which everything that comes from outside is hostile."""
    verdicts: list[Record] = []
    for index, name in enumerate(HOSTILE):
        other = HOSTILE[(index + 3) % len(HOSTILE)]
        target = HOSTILE[(index + 5) % len(HOSTILE)]
        measured = cell(name, other, target=target, drop=index % 2 / 5, samples=9)
        measured[0]["evidence"] |= {"claims": {name: {"found": True, "text": other}}}
        measured[4]["candidate"]["files"] = {name: 7}
        for record in measured:
            record |= {"reason": other, "command": f"pytest {name}", "family": name, "id": name}
            if record["limit"]:
                record["limit"] = {**record["limit"], "source": name}
        verdicts += measured + cell(name, "plain") + lost_cell(name, "lost", "REFUSED", other)
    odd, turned = HOSTILE[0], HOSTILE[5]
    run = {
        "run": odd, "commit": odd, "command": odd, "policy": odd, "interrupted": odd,
        "started": odd, "targets": [odd], "aa_warning": odd, "notices": HOSTILE,
        "versions": {odd: odd},
        "models": {odd: {"architecture": turned, "sha256": odd, "score": {turned: 1}}},
        "machine": {"cpu": odd, "flags": [odd], "threads": 1, "threads_reason": odd},
        "aa": [{"model": turned, "target": turned, "value": 1.0}],
    }  # fmt: skip
    for record in verdicts:
        record["run"] = odd
    return Page(_page(verdicts, **run))


def test_the_first_screen_answers_in_the_order_that_was_promised(page: Page) -> None:
    heads = [head.attributes["id"] for head in page.all("h2")]
    assert heads == [
        "why", "trust", "recommended", "plots", "matrix", "techniques", "coverage", "cells",
        "sections",
    ]  # fmt: skip
    assert page.all("h1")[0].text == "✗ HOLD"
    sentence = next(one for one in page.all("p") if one.attributes.get("class") == "sentence")
    assert "gates fail" in sentence.text


def test_ids_are_unique_and_every_link_leads_somewhere(page: Page) -> None:
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(set(ids)) == len(ids)
    links = [one.attributes["href"] for one in page.elements if "href" in one.attributes]
    inner = {link[1:] for link in links if link.startswith("#")}
    assert inner <= set(ids)
    assert {link for link in links if not link.startswith("#")} == {"records.jsonl"}
    named = [one.attributes.get("aria-labelledby", "") for one in page.elements]
    assert {name for names in named for name in names.split()} <= set(ids)


def test_headings_do_not_skip_a_level(page: Page) -> None:
    levels = [int(one.tag[1]) for one in page.elements if re.fullmatch("h[1-6]", one.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_tables_have_captions_and_scoped_headings(page: Page) -> None:
    for table in page.all("table"):
        inside = "details" in table.above() and table.parent is not None
        assert table.all("caption") or (inside and table.all("th")), table.text[:80]
        for head in table.all("th"):
            assert head.attributes.get("scope") in ("col", "row", "rowgroup")


def test_nothing_is_fetched_and_nothing_needs_styles_or_scripts(text: str, page: Page) -> None:
    assert not [one for one in page.elements if "style" in one.attributes]
    assert not [one for one in page.elements if "src" in one.attributes]
    assert not [name for one in page.elements for name in one.attributes if name[:2] == "on"]
    assert not re.findall(r"https?:|//[a-z]+\.", text)
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#[^)]+\)", "", text)
    assert len(page.all("style")) == 1  # none inside an SVG
    assert "hidden" not in {name for one in page.elements for name in one.attributes}


def test_its_own_policy_allows_its_own_style_and_script_and_nothing_else(page: Page) -> None:
    policy = next(m for m in page.all("meta") if "http-equiv" in m.attributes).attributes["content"]
    for tag in ("style", "script"):
        element = next(one for one in page.all(tag) if "type" not in one.attributes)
        digest = hashlib.sha256(element.text.encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_plots_have_a_title_and_a_description_and_fit_both_colour_schemes(page: Page) -> None:
    plots = [one for one in page.all("svg") if one.attributes.get("role") == "img"]
    assert len(plots) == 7
    for plot in plots:
        assert [one.tag for one in plot.children[:2]] == ["title", "desc"]
        assert plot.children[1].text
        fills = {one.attributes.get("fill") for one in plot.all("text")}
        assert fills == {"currentColor"}
    assert all(
        one.attributes.get("role") == "img" or one.attributes.get("aria-hidden") == "true"
        for one in page.all("svg")
    )


def test_every_failing_gate_and_every_cell_has_its_command(page: Page) -> None:
    sections = [one for one in page.all("details") if one.attributes.get("class") == "cell"]
    assert len(sections) == 70
    for section in sections:
        (command,) = section.all("code")
        assert command.text.startswith("pytest 'suites/' --target ")
    why = next(one for one in page.all("section") if one.attributes["aria-labelledby"] == "why")
    heads = [one for one in why.all("tr") if one.attributes.get("class") == "head"]
    commands = [one for one in why.all("tr") if one.attributes.get("class") == "again"]
    assert len(heads) == len(commands) > 20


def test_what_has_no_number_says_so_and_why(page: Page) -> None:
    crashed = next(
        one
        for one in page.all("details")
        if one.attributes.get("id") == "c-lstm-onnxruntime_int8-cpu"
    )
    cells = [one.text for one in crashed.all("td")]
    assert cells[:3] == ["! ERROR", "not available", "each its own"]
    assert "the worker died of signal 11 (SIGSEGV) while applying" in cells
    assert not re.search(r"\bNone\b|\bnan\b", page.root.text.replace("None keeps the accuracy", "")
                         .replace("None.", ""))  # fmt: skip


def test_statuses_are_told_by_symbol_and_word(page: Page) -> None:
    entry = next(one for one in page.all("table") if one.attributes.get("class") == "matrix")
    words = {one.text.split()[0] for one in entry.all("td")}
    assert words >= {"✓", "✗", "?", "!", "–", "~"}
    assert all(len(one.text.split()) > 1 for one in entry.all("td") if one.text != "·")


def test_the_records_are_embedded_as_they_are(text: str, page: Page) -> None:
    (data,) = [one for one in page.all("script") if one.attributes.get("id") == "records"]
    found = json.loads(data.text)
    assert found == [run_record(selected_cells=70), *matrix(70, samples=20)]


def test_hostile_names_stay_text(hostile: Page) -> None:
    assert len(hostile.all("script")) == 2
    assert not hostile.all("img")
    assert {one.parent.tag for one in hostile.all("b") if one.parent} <= {"figcaption"}
    shown = hostile.root.text
    for name in (*HOSTILE[:5], HOSTILE[6], HOSTILE[8]):
        assert name in shown
    ids = [one.attributes["id"] for one in hostile.elements if "id" in one.attributes]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\w.-]+", found, re.ASCII) for found in ids)
    for element in hostile.elements:
        assert not [name for name in element.attributes if name.startswith("on")]
        assert not element.attributes.get("href", "").startswith("javascript")


def test_names_that_reorder_text_are_isolated(hostile: Page) -> None:
    for element in hostile.elements:
        if element.own and "\u202e" in "".join(element.own) and not element.children:
            assert {element.tag, *element.above()} & {"bdi", "script", "svg"}


def test_hostile_embedded_records_read_back(hostile: Page) -> None:
    data = next(one for one in hostile.all("script") if one.attributes.get("id") == "records")
    names = {record["cell"]["model"] for record in json.loads(data.text)[1:]}
    assert names == set(HOSTILE)


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    path = records.write(tmp_path / "in" / records.FILE, run_record(), matrix(12, samples=20))
    code = "import sys; from reports import render; render.render(sys.argv[1], sys.argv[2])"
    pages = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        command = [sys.executable, "-W", "error", "-c", code, str(path), str(out)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        pages.append([(out / name).read_bytes() for name in ("index.html", "summary.md")])
        assert sorted(one.name for one in out.iterdir()) == ["index.html", "summary.md"]
    assert pages[0] == pages[1]


def test_ten_thousand_verdicts_stay_under_five_megabytes() -> None:
    verdicts = matrix(1112, samples=8)
    text = _page(verdicts, selected_cells=1112)
    assert len(verdicts) > 10_000
    assert len(text.encode()) < 5_000_000
    assert text.count('<details class="cell"') == 1112
    assert "records and sample plots are left out" in text
    assert "cells that would cover each other share one" in text
    first, rest = text.split("more cells</summary>", 1)
    assert first.count('class="head"') == 6
    assert rest.count('class="head"') < 200


def test_long_texts_cannot_break_the_size_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MOST_BYTES", 400_000)
    text = _page(matrix(70, samples=50))
    assert len(text.encode()) <= 400_000
    assert "it shows gates and commands only" in text


@pytest.mark.parametrize(
    "verdicts",
    [
        [],
        [verdict("m", "t", "speed", 1, status="NO_EXPECTATION")],
        lost_cell("m", "t", "REFUSED", "no convolution"),
        [verdict("m", "t", "accuracy"), verdict("m", "t", "speed", 1, value=-3.0)],
        [{"kind": "verdict", "schema": 1, "run": run_record()["run"], "gate": "size",
          "cell": {"model": "m", "technique": "t", "target": "cpu"}, "status": "FAIL"}],
    ],
)  # fmt: skip
def test_sparse_records_still_make_a_page(verdicts: list[Record]) -> None:
    bare = {"kind": "run", "schema": 1, "run": run_record()["run"], "complete": True}
    page = Page(render.page(Records(bare, verdicts)))
    assert "not available" in page.root.text
    assert page.all("h1")[0].text.endswith(("INCONCLUSIVE", "HOLD", "SHIP"))


def test_evidence_of_any_shape_is_shown_or_left_out() -> None:
    verdicts = cell("m", "t", samples=3)
    for record in verdicts:
        record["evidence"] = {
            "claims": [1], "stages": {"a": 1}, "kernels": 3, "batches": [], "processes": 4,
            "b": "x", "c": [], "worst_class": 2, "calibration_error": [], "flip_rate": "much",
        }  # fmt: skip
        record["candidate"] = {"files": {"a": None}, "samples": [None, 0.0, -1.0]}
    assert Page(_page(verdicts)).all("h1")


_numbers = st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e-3, 9) | st.none()


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(_numbers, min_size=12, max_size=12),
    samples=st.lists(_numbers, max_size=5),
    status=st.sampled_from(schema.choices("status")),
)
def test_no_finite_number_breaks_the_page(
    numbers: list[float | None], samples: list[float | None], status: str
) -> None:
    verdicts = cell("m", "t") + cell("m", "u", cls="C")
    feed = itertools.cycle(numbers)
    for record in verdicts:
        record |= {"value": next(feed), "low": next(feed), "high": next(feed), "status": status}
        record["limit"] = {"min": next(feed), "max": next(feed)}
        record["candidate"] = {"bytes": next(feed), "samples": samples, "median_s": next(feed)}
    assert Page(_page(verdicts)).all("h1")
