"""SVG that may stand inside a page: no style, no ids that clash, colours that fit light and dark.

A page served with `style-src 'self'` loses every style attribute, so all looks are presentation
attributes, and the ink is `currentColor`.
"""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as Tree

from markupsafe import Markup, escape

from reports import formats, names
from reports.records import Record

INK = "#010203"
"""Drawn with this colour, a line or a text gets the colour of the page's own text."""

ALLOWED = "#5c8a72"
"""A limit and its allowed side, on a light or a dark page."""

_KEPT = {
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap",
    "stroke-linejoin", "stroke-opacity", "opacity", "font-size", "text-anchor",
}  # fmt: skip
_LONG = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def embed(text: str, prefix: str, title: str, description: str, titles: dict[str, str]) -> str:
    """What matplotlib wrote, made fit for a page.

    prefix: starts every id. titles: what to say about the groups of these ids.
    """
    root = Tree.fromstring(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    _drop(root, {"metadata", "style"})
    ids = {name: f"{prefix}-r{number}" for number, name in enumerate(_referenced(root))}
    for element in root.iter():
        _plain(element, ids, titles)
    box = root.get("viewBox", "0 0 100 100")
    _, _, width, height = (float(part) for part in box.split())
    attributes = {
        "viewBox": box, "width": f"{width:.0f}", "height": f"{height:.0f}", "role": "img",
        "aria-labelledby": f"{prefix}-t {prefix}-d", "font-family": "system-ui, sans-serif",
    }  # fmt: skip
    root.attrib.clear()
    root.attrib.update(attributes)
    for position, (tag, content) in enumerate((("title", title), ("desc", description))):
        child = Tree.Element(tag, {"id": f"{prefix}-{tag[0]}"})
        child.text = names.plain(content)
        root.insert(position, child)
    _tidy(root)
    return Tree.tostring(root, encoding="unicode")


def _drop(element: Tree.Element, tags: set[str]) -> None:
    for child in list(element):
        if child.tag in tags:
            element.remove(child)
        else:
            _drop(child, tags)


def _referenced(root: Tree.Element) -> list[str]:
    found: dict[str, None] = {}
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.endswith("href") and value.startswith("#"):
                found[value[1:]] = None
            found.update(dict.fromkeys(_REFERENCE.findall(value)))
    return list(found)


def _plain(element: Tree.Element, ids: dict[str, str], titles: dict[str, str]) -> None:
    old = dict(element.attrib)
    element.attrib.clear()
    for name, value in [*old.items(), *_declarations(old.get("style", ""))]:
        name = name.rpartition("}")[2]
        if name == "id":
            if value in titles:
                child = Tree.Element("title")
                child.text = names.plain(titles[value])
                element.insert(0, child)
            if value not in ids:
                continue
            value = ids[value]
        elif name == "href":
            value = "#" + ids[value[1:]]
        elif name == "style":
            continue
        value = _REFERENCE.sub(lambda found: f"url(#{ids[found[1]]})", value)
        if value.lower() == INK:
            value = "currentColor"
        if name in ("d", "x", "y", "transform", "width", "height"):
            value = " ".join(_LONG.sub(lambda found: f"{float(found[0]):.1f}", value).split())
        element.set(name, value)


def _declarations(style: str) -> list[tuple[str, str]]:
    found = []
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font" and (size := re.search(r"[\d.]+px", value)):
            name, value = "font-size", size[0].removesuffix("px")
        if name in _KEPT:
            found.append((name, value))
    return found


def _tidy(element: Tree.Element) -> None:
    """Without the white space between elements, and groups that do nothing."""
    if element.tag not in ("text", "title", "desc"):
        element.text = None
    for child in list(element):
        _tidy(child)
        child.tail = None
        if child.tag in ("g", "defs") and not len(child):
            element.remove(child)


def histogram(samples: list[float], low: float, high: float, width: int, height: int) -> str:
    """Path data of a histogram on a logarithmic axis from low to high; equal input, equal text."""
    bins = width // 6
    counts = [0] * bins
    start = math.log(low)
    span = math.log(high) - start or 1.0
    for sample in samples:
        counts[min(bins - 1, max(0, int((math.log(sample) - start) / span * bins)))] += 1
    most = max(counts) or 1
    parts = []
    for index, number in enumerate(counts):
        if number:
            tall = max(1, round(number / most * height))
            parts.append(f"M{index * 6} {height}v-{tall}h5v{tall}z")
    return "".join(parts)


def distribution(arms: list[tuple[str, list[float], str]]) -> Markup:
    """Histograms of samples (seconds), one above the other on one axis; empty without samples.

    arms: (name, samples, colour). The numbers stand beside it as text, so it hides from readers.
    """
    arms = [(name, [s for s in samples if s > 0], colour) for name, samples, colour in arms]
    every = [sample for _, samples, _ in arms for sample in samples]
    if not every:
        return Markup()
    low, high = min(every), max(every)
    width, height = 300, 26
    body = []
    for row, (name, samples, colour) in enumerate(arms):
        path = histogram(samples, low, high, width, height - 6)
        body.append(
            f'<path transform="translate(0 {row * height + 6})" fill="{colour}" d="{path}">'
            f"<title>{escape(name)}</title></path>"
        )
    tall = len(arms) * height + 1
    body.append(f'<path stroke="currentColor" stroke-opacity=".4" d="M0 {tall - 0.5}h{width}"/>')
    return Markup(
        f'<svg width="{width}" height="{tall}" viewBox="0 0 {width} {tall}" aria-hidden="true">'
        f"{''.join(body)}</svg>"
    )


def interval(verdict: Record) -> Markup:
    """A verdict's number with its interval against its limit; the allowed side is shaded.

    The numbers stand beside it as text, so it hides from readers. Empty without number or limit.
    """
    value, asked = verdict.get("value"), formats.threshold(verdict)
    if value is None or asked is None:
        return Markup()
    low, high = (value if verdict.get(side) is None else verdict[side] for side in ("low", "high"))
    ends = min(low, asked, value), max(high, asked, value)
    width, pad = 120, 10
    scale = (width - 2 * pad) / ((ends[1] - ends[0]) or 1)
    if not 0 < scale < math.inf:  # numbers too far apart, or too near, to draw
        return Markup()

    def at(number: float) -> str:
        return f"{pad + (number - ends[0]) * scale:.1f}"

    line = at(asked)
    least = (verdict.get("limit") or {}).get("min") is not None
    side = f"M{line} 0H{width if least else 0}V14H{line}z"
    return Markup(
        f'<svg class="iv" width="{width}" height="14" viewBox="0 0 {width} 14" aria-hidden="true" '
        'fill="currentColor" stroke="currentColor">'
        f'<path d="{side}" fill="{ALLOWED}" fill-opacity=".3" stroke="none"/>'
        f'<path d="M{line} 0v14" stroke="{ALLOWED}"/>'
        f'<path d="M{at(low)} 7H{at(high)}" stroke-width="2"/>'
        f'<circle cx="{at(value)}" cy="7" r="3.5" stroke="none"/></svg>'
    )
