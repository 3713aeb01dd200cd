"""Globs, parameters and pipelines in names."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.names import base, glob_matches, names_match, suggestion


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("resnet*", "resnet18", True),
        ("resnet?", "resnet18", False),
        ("resnet??", "resnet18", True),
        ("[a-z]*", "resnet18", False),
        ("[a]", "[a]", True),
        ("[a]", "a", False),
        ("a.c", "abc", False),
        ("*", "", True),
        ("RESNET*", "resnet18", False),
        ("a*\nb", "axy\nb", True),
    ],
)
def test_only_star_and_question_mark_are_wildcards(pattern, name, matches):
    assert glob_matches(pattern, name) is matches


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("prune", "prune:0.5", True),
        ("prune:0.5", "prune:0.5", True),
        ("prune:0.7", "prune:0.5", False),
        ("prune", "prune_more", False),
        ("prune", "prune:0.5+int8", False),
        ("prune+int8", "prune:0.5+int8", True),
        ("prune:0.5+int8", "prune:0.5+int8:entropy", True),
        ("prune:0.7+int8", "prune:0.5+int8", False),
        ("*int8", "static_int8:entropy", True),
        ("*_int8", "prune:0.5+static_int8", True),
        ("*:0.5", "prune:0.5", True),
        ("*:0.7", "prune:0.5", False),
        ("prune*", "prune:0.5+int8", True),
        ("imagenet", "imagenet:resnet50", True),
    ],
)
def test_a_name_covers_its_variants_and_a_pipeline_is_its_own(pattern, name, matches):
    assert names_match(pattern, name) is matches


def test_parameters_are_left_out_of_each_stage():
    assert base("prune:0.5+static_int8:entropy+none") == "prune+static_int8+none"


def test_a_near_name_is_suggested():
    assert suggestion("modle", ["model", "technique"]) == "; did you mean 'model'?"
    assert suggestion("zzz", ["model"]) == ""


@given(st.text(alphabet="ab*?[]+:.\n", max_size=12), st.text(alphabet="ab+:", max_size=12))
def test_matching_never_fails_and_a_star_covers_all(pattern, name):
    assert names_match(pattern, name) in (True, False)
    assert names_match("*", name)
    assert "*" in name or "?" in name or names_match(name, name)


@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="abc", max_size=8))
def test_globs_match_as_the_standard_library_has_it(pattern, name):
    assert glob_matches(pattern, name) is fnmatch.fnmatchcase(name, pattern)


def test_many_stars_match_in_no_time():
    assert not glob_matches("*a" * 12 + "b", "a" * 40)
