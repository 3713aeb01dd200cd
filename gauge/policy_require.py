"""What a release must have measured: models × techniques × targets × gates, each a name or glob."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from gauge.names import glob_matches, names_match
from gauge.policy_entry import CellFacts
from gauge.verdict import ALWAYS_GATES, BATCH_GATES, GATES

Question = tuple[str, int | None]

_SIZED = re.compile(r"(.+)-b([1-9][0-9]*)")


@dataclass(frozen=True)
class Required:
    """A [[require]]: each of the cells it covers must have an answer to each of its gates.

    gates: names or globs; `speed` and `memory` mean every batch size that the run gates, and
    `speed-b32` means that one. source: file and line of its header.
    """

    source: str
    reason: str
    models: tuple[str, ...]
    techniques: tuple[str, ...]
    targets: tuple[str, ...]
    gates: tuple[str, ...]

    def cells(self, declared: Iterable[CellFacts]) -> tuple[list[CellFacts], list[str]]:
        """The cells it asks for of those that are declared, in their order, and what is not there.

        Each model pattern with each technique pattern and each target pattern asks for one cell at
        least; a combination that covers none is told in words (`vit × openvino × cpu`).
        """
        covering = (
            _Covering(self.models, names_match),
            _Covering(self.techniques, names_match),
            _Covering(self.targets, glob_matches),
        )
        found: dict[CellFacts, None] = {}
        met: set[tuple[str, ...]] = set()
        for facts in declared:
            names = (facts.model, facts.technique, facts.target)
            patterns = [one.of(name) for one, name in zip(covering, names, strict=True)]
            if all(patterns):
                found[facts] = None
                met.update(product(*patterns))
        asked = product(self.models, self.techniques, self.targets)
        return list(found), [" × ".join(one) for one in asked if one not in met]

    def questions(self, gated: Sequence[int]) -> list[Question]:
        """The gates it asks for, in the order of GATES; gated: the batch sizes of this run."""
        found = {
            (gate, batch)
            for pattern in self.gates
            for gate in _named(pattern)
            for batch in _batches(pattern, gate, gated)
        }
        return sorted(found, key=lambda one: (GATES.index(one[0]), one[1] or 0))


class _Covering:
    """Which of some patterns cover a name, each name looked at once."""

    def __init__(self, patterns: Sequence[str], matches: Callable[[str, str], bool]) -> None:
        self.patterns, self.matches = patterns, matches
        self.known: dict[str, tuple[str, ...]] = {}

    def of(self, name: str) -> tuple[str, ...]:
        if name not in self.known:
            self.known[name] = tuple(one for one in self.patterns if self.matches(one, name))
        return self.known[name]


def _named(pattern: str) -> tuple[str, ...]:
    """The gates that a pattern means.

    `*` and its like mean what every run asks of every cell; a gate that takes an option or a file
    of its own is required by a pattern that covers no other.
    """
    always = tuple(gate for gate in ALWAYS_GATES if _batches(pattern, gate, (1,)))
    return always or GATES


def _batches(pattern: str, gate: str, gated: Sequence[int]) -> list[int | None]:
    """The batch sizes for which a pattern names a gate: [None] for a gate without, [] for none."""
    if glob_matches(pattern, gate):
        return list(gated) if gate in BATCH_GATES else [None]
    sized = _SIZED.fullmatch(pattern)
    if sized and gate in BATCH_GATES and glob_matches(sized[1], gate):
        return [int(sized[2])]
    return []


def names_a_gate(pattern: str) -> bool:
    """Whether a pattern of `gates` covers any gate."""
    return any(_batches(pattern, gate, (1,)) for gate in GATES)
