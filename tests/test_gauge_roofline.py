"""The roof over a call: pure arithmetic of measured peaks; measuring gives usable ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge import roofline, targets

MACHINE = {
    "flops": {"float32": 100e9, "int8": 400e9, "float16": None},
    "reasons": {"float16": "no kernel"},
    "bandwidth": [[2**20, 100e9], [2**24, 50e9], [2**28, 20e9]],
}


@pytest.mark.parametrize(
    ("flops", "traffic", "attainable"),
    [
        (1e9, 1e6, 100e9),  # much work on little: arithmetic bounds it
        (1e6, 1e6, 100e9),  # one FLOP a byte from the nearest cache
        (1e7, 1e7, 50e9),  # from a further one
        (1e9, 1e9, 20e9),  # larger than any buffer that was measured: from memory
    ],
)
def test_what_bounds_a_call(flops, traffic, attainable):
    found = roofline.roof(MACHINE, "float32", flops, traffic)
    assert found["attainable"] == pytest.approx(attainable)
    assert found["intensity"] == pytest.approx(flops / traffic)


@pytest.mark.parametrize(
    ("form", "flops", "traffic"), [("float16", 1, 1), ("bfloat16", 1, 1), ("int8", 0, 1)]
)
def test_no_peak_or_no_work_has_no_roof(form, flops, traffic):
    assert roofline.roof(MACHINE, form, flops, traffic) is None


@given(st.floats(1, 1e13), st.floats(1, 1e12))
def test_a_roof_is_never_above_peak_nor_bandwidth(flops, traffic):
    found = roofline.roof(MACHINE, "int8", flops, traffic)
    assert found["attainable"] <= found["peak"]
    assert found["attainable"] <= found["intensity"] * 100e9 * (1 + 1e-9)
    assert math.isfinite(found["attainable"])


def test_measuring_gives_peaks_and_bandwidths(monkeypatch):
    monkeypatch.setattr(roofline, "SIZES", (64,))
    monkeypatch.setattr(roofline, "BUFFERS", (2**12, 2**16))
    found = roofline.measure(targets.get("cpu"))
    assert set(found["flops"]) == set(roofline.FORMATS)
    assert found["flops"]["float32"] > 1e6
    assert [size for size, _ in found["bandwidth"]] == [2**12, 2**16]
    assert all(rate > 1e6 for _, rate in found["bandwidth"])


def test_a_format_without_kernels_says_why(monkeypatch):
    import torch

    def refuse(*_):
        raise RuntimeError("addmm: not implemented for 'Char'\nat somewhere")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    monkeypatch.setattr(roofline, "SIZES", (64,))
    monkeypatch.setattr(roofline, "BUFFERS", (2**12,))
    found = roofline.measure(targets.get("cpu"))
    assert found["flops"]["int8"] is None
    assert found["reasons"] == {"int8": "addmm: not implemented for 'Char'"}
