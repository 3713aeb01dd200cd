"""What a limit may require of a machine: `avx512_vnni`, `!avx512_vnni`, `cuda>=8.0`, `cuda<9`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Version = tuple[int, ...]

_FORM = re.compile(r"(?a:(!?)([A-Za-z]\w*)(?:\s*(>=|<)\s*(\d+(?:\.\d+)*))?)")
FORMS = "'name', '!name', 'name>=8.0' or 'name<9.0'"
"""The forms a requirement may have, for error messages."""


def _version(text: str) -> Version:
    """Numbers to compare; 8.0 and 8 are the same."""
    parts = [int(part) for part in text.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


@dataclass(frozen=True)
class Requirement:
    """One capability asked for (`absent`: asked not to be there), perhaps with a version bound."""

    text: str
    name: str
    absent: bool = False
    least: Version | None = None
    below: Version | None = None

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read one requirement; ValueError when it has none of the forms."""
        form = _FORM.fullmatch(text.strip())
        if form is None or (form[1] and form[3]):
            raise ValueError(f"{text!r} is not {FORMS}")
        version = _version(form[4]) if form[4] else None
        return cls(
            text=text.strip(),
            name=form[2],
            absent=bool(form[1]),
            least=version if form[3] == ">=" else None,
            below=version if form[3] == "<" else None,
        )

    def met(self, capabilities: Iterable[str]) -> bool:
        """Whether a machine with these capabilities (`avx2`, `cuda=8.6`) meets it."""
        values = [
            value
            for name, _, value in (c.partition("=") for c in capabilities)
            if name == self.name
        ]
        if self.absent:
            return not values
        return any(self._covers(value) for value in values)

    def _covers(self, value: str) -> bool:
        if self.least is None and self.below is None:
            return True
        if not re.fullmatch(r"(?a:\d+(\.\d+)*)", value):
            return False
        version = _version(value)
        return (self.least is None or version >= self.least) and (
            self.below is None or version < self.below
        )


def missing(requires: Sequence[Requirement], capabilities: Iterable[str]) -> list[str]:
    """The requirements that a machine with these capabilities does not meet, as written."""
    present = list(capabilities)
    return [requirement.text for requirement in requires if not requirement.met(present)]


def compatible(requires: Iterable[Requirement]) -> bool:
    """Whether some machine could meet all of them at once."""
    by_name: dict[str, list[Requirement]] = {}
    for requirement in requires:
        by_name.setdefault(requirement.name, []).append(requirement)
    return all(_possible(group) for group in by_name.values())


def _possible(group: Sequence[Requirement]) -> bool:
    if len({requirement.absent for requirement in group}) > 1:
        return False
    least = max((r.least for r in group if r.least is not None), default=())
    below = [r.below for r in group if r.below is not None]
    return not below or least < min(below)
