"""Writes a run's pages: index.html, which reads well without scripts or styles, and summary.md."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reports import charts, formats, names, roofline, serving, training_chart, trust, view
from reports import records as reading
from reports import summary as markdown
from reports.cells import SEVERITY, Cell
from reports.deployment import asks_gates
from reports.records import Record, Records
from reports.summarize import Summary, summarize

PAGE = "index.html"
MOST_BYTES = 4_800_000
"""The page leaves details out rather than grow beyond this; it says which."""
MOST_EMBEDDED = 1_000_000
_FULL_CELLS = 400
"""More cells than this, and the page starts without sample plots and embedded records."""

_TEMPLATES = Path(__file__).parent / "templates"
_WORD_END = re.compile(r"([+_])")
_LEVELS = (
    "",
    "To keep this page small, records and sample plots are left out: records.jsonl holds them.",
    "To keep this page small, it shows gates and commands only: records.jsonl holds the rest.",
)


def render(path: Path | str, directory: Path | str) -> Path:
    """Write index.html and summary.md into directory; returns the path of index.html.

    path: a record file, or the directory that holds one. Equal records give equal bytes. Raises
    RecordError when the records cannot be read whole.
    """
    return write(reading.read(path), directory)


def write(records: Records, directory: Path | str) -> Path:
    """Write index.html and summary.md into directory from records already read."""
    path = Path(directory) / PAGE
    reading.replace(path, page(records).encode("utf-8"))
    markdown.write(records, directory)
    return path


def page(records: Records) -> str:
    """The page as text, as detailed as fits into MOST_BYTES."""
    summary = summarize(records)
    context = _context(summary, records)
    # A page of many cells has no room for the records and sample plots anyway.
    level = 0 if len(summary.cells) <= _FULL_CELLS else 1
    text = _fill(context, summary, level)
    while len(text.encode("utf-8")) > MOST_BYTES and level < len(_LEVELS) - 1:
        level += 1
        text = _fill(context, summary, level)
    return text


def fill(template: str, context: dict[str, Any]) -> str:
    """A page of its own from a template without scripts, in the style of a run's page."""
    style = _asset("style.css")
    values = {**context, "style": style, "csp": _csp(style, Markup(""))}
    return _environment().get_template(template).render(values)


def _fill(context: dict[str, Any], summary: Summary, level: int) -> str:
    sections = (view.section(cell, level) for cell in summary.cells)
    data = context["data"] if level == 0 else ""
    detailed = {
        "sections": sections,
        "left_out": _LEVELS[level],
        "data": data,
        "embedded": "The records are in this page, as JSON in its element “records”;"
        if data
        else "",
    }
    return _environment().get_template("page.html").render(context | detailed)


def _context(summary: Summary, records: Records) -> dict[str, Any]:
    run = summary.run
    style, script = _asset("style.css"), _asset("script.js")
    return {
        "csp": _csp(style, script),
        "style": style,
        "script": script,
        "symbols": view.SYMBOLS,
        "verdict": summary.verdict,
        "sentence": summary.sentence,
        "started": formats.moment(run.get("started")),
        "counts": [
            (title, [(status, formats.whole(number)) for status, number in counted.items()])
            for title, counted in (("Cells", summary.cell_counts), ("Gates", summary.counts))
        ],
        "failing": view.lines(summary.failing),
        "undecided": view.lines(summary.undecided),
        "lacking": [names.short(line) for line in view.lacking(summary)[: view.MOST_LINES]],
        "lacking_more": max(0, len(view.lacking(summary)) - view.MOST_LINES),
        "lacking_title": view.lacking_title(summary),
        "triage": view.triage(summary),
        "triage_text": view.triage_text(summary),
        "waived": view.lines(summary.waived),
        "checks": trust.checks(summary),
        "facts": trust.facts(run),
        "run_command": names.visible(names.short(run.get("command") or "", names.LONGEST_COMMAND)),
        "aa": view.aa(run),
        "models": view.models(run),
        "recommended": view.recommended(summary),
        "deployments": view.deployments(summary),
        "overhead": serving.overhead(summary.cells),
        "edge": view.edge(summary),
        "rooflines": [_safe(plot) for plot in roofline.plots(summary.cells)],
        "plots": [_safe(plot) for plot in charts.plots(summary)],
        "unplotted": _unplotted(summary),
        "legend": [status for status in reversed(SEVERITY) if status in summary.cell_counts],
        "optimised": not summary.cells or not all(cell.trains for cell in summary.cells),
        "gated": not summary.cells or any(map(_gated, summary.cells)),
        "matrix": view.matrix(summary),
        "trainings": view.trainings(summary),
        "curves": [_safe(plot) for plot in training_chart.curves(summary.cells)],
        "means": view.means(summary),
        "coverage": view.coverage(summary),
        "errored": view.groups(summary.coverage.errored),
        "refused": view.groups(summary.coverage.refused),
        "overview": view.overview(summary),
        "records_link": reading.FILE,
        "data": _data(records),
    }


def _gated(cell: Cell) -> bool:
    """Whether the gates were asked of a cell, not only what trains it or puts it under a load."""
    return asks_gates(cell) and not cell.trains


def _safe(plot: charts.Plot) -> dict[str, Any]:
    # The SVG comes out of an XML serialiser, which escaped whatever names are in it.
    return {**vars(plot), "svg": Markup(plot.svg)}


def _unplotted(summary: Summary) -> str:
    measured = sum(cell.measured and not cell.trains for cell in summary.cells)
    missing = measured - len(charts.points(summary.cells))
    return (
        f"{formats.count(missing, 'cell')} without a speedup and a drop that a plot can hold"
        if missing
        else ""
    )


def _data(records: Records) -> Markup:
    """The records as one JSON array for a script element; empty when it would be large."""
    parts = []
    size = 0
    for text in _json_lines(records):
        size += len(text)
        if size > MOST_EMBEDDED:
            return Markup()
        parts.append(text)
    text = "[" + ",\n".join(parts) + "]"
    # Inside a script element only "<" can end it or start a comment.
    return Markup(text.replace("<", "\\u003c"))


def _json_lines(records: Records) -> Iterator[str]:
    every: list[Record] = [records.run, *records.verdicts]
    return (json.dumps(record, allow_nan=False, separators=(",", ":")) for record in every)


def _csp(style: str, script: str) -> str:
    """Nothing from anywhere, and no style or script but the page's own."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


@cache
def _asset(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(text: str) -> Markup:
    """A name that may break behind each stage and each word of it."""
    return Markup(_WORD_END.sub(r"\1<wbr>", str(escape(names.clean(text)))))


def _shown(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return names.clean(value)
