"""What errors of libraries say in a sentence."""

from __future__ import annotations

import pytest

from optimizers.messages import LONGEST, first_line, named


@pytest.mark.parametrize(
    ("error", "line", "told"),
    [
        (ValueError("no layer 3\n  at x.cc:7"), "no layer 3", "ValueError: no layer 3"),
        (RuntimeError("\n\n  deep down \nmore"), "deep down", "RuntimeError: deep down"),
        (KeyError(), "KeyError", "KeyError"),
        (RuntimeError(" \n "), "RuntimeError", "RuntimeError"),
        (OSError("x" * 999), "x" * LONGEST, f"OSError: {'x' * LONGEST}"),
    ],
)
def test_an_error_is_told_in_a_line(error, line, told):
    assert first_line(error) == line
    assert named(error) == told
