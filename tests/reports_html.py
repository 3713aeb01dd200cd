"""Reads a page the way a strict checker does, for the tests of `reports`."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "wbr", "input", "link", "img", "hr"}
SHAPES = {"path", "use", "circle", "rect"}
"""SVG elements that may close themselves."""


@dataclass
class Element:
    """An element with its text, that of its children included."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None
    children: list[Element] = field(default_factory=list)
    own: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.own)

    def all(self, tag: str) -> list[Element]:
        found = [child for child in self.children if child.tag == tag]
        return found + [one for child in self.children for one in child.all(tag)]

    def above(self) -> list[str]:
        return [] if self.parent is None else [self.parent.tag, *self.parent.above()]


class Page(HTMLParser):
    """Parses a page; ValueError where a tag is not closed by its own end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element("#root", {}, None)
        self.elements: list[Element] = []
        self._open = [self.root]
        self.feed(text)
        self.close()
        if len(self._open) != 1:
            raise ValueError(f"never closed: {[one.tag for one in self._open[1:]]}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            raise ValueError(f"an attribute twice: {attrs}")
        element = Element(tag, {name: value or "" for name, value in attrs}, self._open[-1])
        self._open[-1].children.append(element)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in SHAPES | VOID:
            raise ValueError(f"<{tag}/> is not self-closing in HTML")
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if self._open[-1].tag != tag:
            raise ValueError(f"</{tag}> closes <{self._open[-1].tag}> at {self.getpos()}")
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.own.append(data)

    def all(self, tag: str) -> list[Element]:
        return self.root.all(tag)
