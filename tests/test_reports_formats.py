"""Numbers are written with their unit and interval, and never look better than they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_fixtures import verdict

from reports import formats, names

_finite = st.floats(allow_nan=False, allow_infinity=False)


def _plain(text: str) -> str:
    return text.replace("\u202f", " ")


@pytest.mark.parametrize(
    ("gate", "fields", "text", "limit"),
    [
        ("speed", {"value": 4.1, "low": 4.0, "high": 4.213, "limit": {"min": 1.2}},
         "4.10× [4.00, 4.21]", "≥ 1.20×"),
        ("speed", {"value": 41.04, "low": 40.0, "high": 42.0}, "41.0× [40.0, 42.0]", "none"),
        ("speed", {"value": 0.0251}, "0.025×", "none"),
        ("speed", {"value": 0.9996, "limit": {"min": 1.0}}, "0.9996×", "≥ 1.00×"),
        ("speed", {"value": 1.0, "limit": {"min": 1.0}}, "1.00×", "≥ 1.00×"),
        ("accuracy", {"value": 0.0015, "high": 0.0062, "limit": {"max": 0.01}},
         "0.15 pt (≤ 0.62)", "≤ 1.00 pt"),
        ("accuracy", {"value": -0.0005, "low": -0.002, "high": 0.001},
         "−0.05 pt [−0.20, 0.10]", "none"),
        ("accuracy", {"value": -0.000001}, "0.00 pt", "none"),
        ("fidelity", {"value": 0.9965, "limit": {"min": 0.95}}, "99.65 %", "≥ 95.00 %"),
        ("fidelity", {"value": 0.99987, "unit": "cosine"}, "0.9999", "none"),
        ("evidence", {"value": 0.5}, "50 %", "all claims"),
        ("reload", {"value": 1.2e-7, "limit": {"max": 1e-5}}, "1.2e−7", "≤ 1.0e−5"),
        ("reload", {"value": 0.0}, "0", "none"),
        ("memory", {"value": None}, "not available", "none"),
    ],
)  # fmt: skip
def test_a_gates_number(gate: str, fields: dict[str, Any], text: str, limit: str) -> None:
    record = verdict("m", "t", gate, **fields)
    assert _plain(formats.measured(record)) == text
    assert _plain(formats.limit(record)) == limit


@given(value=_finite, asked=_finite, gate=st.sampled_from(["speed", "size", "accuracy"]))
def test_a_number_that_misses_its_limit_by_a_millionth_never_looks_equal_to_it(
    value: float, asked: float, gate: str
) -> None:
    record = verdict("m", "t", gate, value=value, limit={"min": asked})
    number = _plain(formats.measured(record, interval=False))
    assert number != "not available"
    if abs(value - asked) > 2e-6 and max(abs(value), abs(asked)) < 1e6:
        assert f"≥ {number}" != _plain(formats.limit(record))


def test_a_number_that_no_decimals_tell_from_its_limit_has_no_more_of_them() -> None:
    one = verdict("m", "t", "size", value=1.0 + 1e-9, limit={"max": 1.0})
    assert formats.measured(one) == "1.00×"


def test_an_accuracy_drop_is_told_with_the_bound_that_decides() -> None:
    record = verdict("m", "t", "accuracy", value=0.0015, low=-0.003, high=0.0062)
    assert _plain(formats.drop(record)) == "0.15 pt (≤ 0.62)"
    assert formats.drop(None) == "not available"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not available"), (0, "0 s"), (3e-8, "30.0 ns"), (21e-6, "21 µs"), (0.0161, "16.1 ms"),
     (0.99996, "1.00 s"), (41, "41 s"), (59.96, "1 min 0 s"), (812, "13 min 32 s"),
     (7384, "2 h 3 min")],
)  # fmt: skip
def test_seconds(value: float | None, text: str) -> None:
    assert _plain(formats.seconds(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not available"), (0, "0 B"), (812, "812 B"), (999_600, "1.00 MB"),
     (44_700_000, "44.7 MB"), (16.6e9, "16.6 GB"), (1e13, "10 TB")],
)  # fmt: skip
def test_bytes(value: float | None, text: str) -> None:
    assert _plain(formats.size(value)) == text


@given(_finite)
def test_no_finite_number_breaks_a_format(value: float) -> None:
    for form in (formats.FACTOR, formats.POINTS, formats.RELATIVE, formats.COSINE):
        assert form(value)
    assert formats.seconds(value)
    assert formats.size(value)


def test_counts_have_their_plural_and_thousands_set_apart() -> None:
    assert formats.count(1, "cell") == "1 cell"
    assert _plain(formats.count(10008, "copy", "copies")) == "10 008 copies"


_texts = st.text(min_size=1, max_size=80)


@given(st.lists(st.tuples(_texts, _texts, _texts), min_size=2, max_size=2, unique=True))
def test_slugs_are_plain_and_differ_where_the_names_do(cells: list[tuple[str, str, str]]) -> None:
    slugs = [names.slug(*cell) for cell in cells]
    assert slugs == [names.slug(*cell) for cell in cells]
    assert slugs[0] != slugs[1]
    for slug in slugs:
        assert slug.isascii()
        assert slug.replace("-", "").replace("_", "").replace(".", "").isalnum()


def test_slugs_stay_readable_and_tell_apart_where_a_name_ends() -> None:
    assert names.slug("resnet18", "onnxruntime", "cpu") == "c-resnet18-onnxruntime-cpu"
    assert names.slug("a-b", "c", "cpu") != names.slug("a", "b-c", "cpu")
    assert names.slug("A", "c", "cpu") != names.slug("a", "c", "cpu")


@given(st.text())
def test_plain_text_is_one_line_without_controls(text: str) -> None:
    shown = names.plain(text)
    shown.encode("utf-8")
    assert "\n" not in shown
    assert not any(ord(char) < 32 or char in "\u202e\u2066\u200f" for char in shown)
