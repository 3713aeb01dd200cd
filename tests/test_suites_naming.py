"""Names of pipelines are read and written the same way, and mistakes are told plainly."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suites import naming
from suites.naming import Stage

VARIANTS = {
    "none": (),
    "static_int8": (),
    "prune_channels": ({"amount": 0.5}, {"amount": 0.9}),
    "low_rank": ({"rank": 8, "scale": 1.0, "shared": True, "solver": "svd"},),
}


def test_stages_carry_typed_parameters_in_declared_order():
    assert naming.parse("prune_channels:0.7+low_rank:16:2:false:qr+static_int8", VARIANTS) == [
        Stage("prune_channels", {"amount": 0.7}),
        Stage("low_rank", {"rank": 16, "scale": 2.0, "shared": False, "solver": "qr"}),
        Stage("static_int8", {}),
    ]


def test_parameters_left_out_are_the_first_variants():
    (stage,) = naming.parse("low_rank:4", VARIANTS)
    assert stage.params == {"rank": 4, "scale": 1.0, "shared": True, "solver": "svd"}
    assert naming.format_stage(*stage) == "low_rank:4:1:true:svd"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("low_rank:4:1:true:svd", "low_rank:4:1"),
        ("low_rank:4:1:false:svd", "low_rank:4:1:false"),
        ("low_rank:4:1:true:qr", "low_rank:4:1:true:qr"),
        ("prune_channels:0.5", "prune_channels:0.5"),
    ],
)
def test_words_at_the_end_that_are_the_default_are_left_out(name, short):
    assert naming.format_pipeline(naming.parse(name, VARIANTS), VARIANTS) == short
    assert naming.parse(short, VARIANTS) == naming.parse(name, VARIANTS)


def test_declared_variants_are_not_changed_by_parsing():
    naming.parse("prune_channels:0.7", VARIANTS)
    assert VARIANTS["prune_channels"][0] == {"amount": 0.5}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (1.0, "1"), (1, "1"), (1e16, "1e16"), (1e-7, "1e-07"), (True, "true")],
)
def test_values_have_one_canonical_form(value, text):
    assert naming.format_stage("a", {"x": value}) == f"a:{text}"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("prune_chanels", ["'prune_chanels'", "did you mean 'prune_channels'"]),
        ("zzz", ["there are:", "static_int8"]),
        ("static_int8+", ["stage ''", "no technique"]),
        ("", ["no technique"]),
        ("static_int8:3", ["found 1 parameters", "write 'static_int8'"]),
        ("prune_channels:0.5:2", ["found 2 parameters", "'prune_channels:amount'"]),
        ("prune_channels:half", ["amount must be a number", "'half'"]),
        ("prune_channels:", ["amount must be a number", "''"]),
        ("prune_channels:nan", ["amount must be a number", "'nan'"]),
        ("prune_channels:1e999", ["finite", "'1e999'"]),
        ("static_int8+low_rank:8.5", ["'low_rank:8.5' of", "rank must be a whole number", "'8.5'"]),
        ("low_rank:٣", ["rank must be a whole number"]),
        ("low_rank:1_0", ["rank must be a whole number"]),
        ("low_rank:1:1:True", ["shared must be true or false", "'True'"]),
        ("low_rank:1:1:true:a b", ["solver must be letters"]),
        ("none+static_int8", ["'none' optimises nothing"]),
    ],
)
def test_mistakes_name_the_stage_what_was_found_and_what_to_write(name, parts):
    with pytest.raises(ValueError, match=r".") as caught:
        naming.parse(name, VARIANTS)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "a:b", "a+b", "", "*", "a/b", None, (1,)])
def test_values_that_no_name_can_hold_are_refused(value):
    with pytest.raises(ValueError, match="parameter x must be"):
        naming.format_stage("a", {"x": value})


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_STAGES = st.one_of(
    st.just(Stage("static_int8", {})),
    _NUMBERS.map(lambda amount: Stage("prune_channels", {"amount": amount})),
    # Not fixed_dictionaries: it shuffles, and parameters are named in the declared order.
    st.tuples(st.integers(), _NUMBERS, st.booleans(), st.text("abcXYZ019_.-", min_size=1)).map(
        lambda values: Stage("low_rank", dict(zip(VARIANTS["low_rank"][0], values, strict=True)))
    ),
)


@given(stages=st.lists(_STAGES, min_size=1, max_size=3))
def test_any_pipeline_survives_being_written_and_read(stages):
    for declared in (None, VARIANTS):
        text = naming.format_pipeline(stages, declared)

        assert naming.parse(text, VARIANTS) == stages
        assert naming.format_pipeline(naming.parse(text, VARIANTS), declared) == text


def test_naming_needs_no_torch():
    code = "import sys; import suites.naming; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
