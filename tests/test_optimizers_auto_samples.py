"""auto: what each sample that judges belongs to, however a split is cut."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from optimizers.auto_samples import cut, groups_of, spread
from zoo import Split


def numbered(count, group=1):
    """Samples that are their own row, in groups of so many."""
    rows = torch.arange(count)
    groups = None if group == 1 else [row // group for row in range(count)]
    return Split(inputs=(rows,), labels=rows * 10, groups=groups)


@given(st.integers(8, 60), st.integers(1, 3), st.floats(0.2, 0.5), st.integers(0, 5))
def test_both_parts_of_a_cut_keep_what_each_sample_belongs_to(count, group, share, seed):
    parts = cut(numbered(count, group), share, seed)
    rows = [split.inputs[0].tolist() for split, _ in parts]
    assert sorted(rows[0] + rows[1]) == list(range(count))
    for (split, groups), own in zip(parts, rows, strict=True):
        assert groups == [("train", row // group) for row in own]
        assert split.labels.tolist() == [row * 10 for row in own]


@given(st.integers(1, 60), st.integers(1, 80), st.integers(1, 3))
def test_what_is_spread_keeps_it_too(count, wanted, group):
    split = numbered(count, group)
    found, groups = spread((split, groups_of("calibration", split)), wanted)
    rows = found.inputs[0].tolist()
    assert len(rows) == min(wanted, count)
    assert len(set(rows)) == len(rows)
    assert groups == [("calibration", row // group) for row in rows]
    assert found.groups == (None if group == 1 else [row // group for row in rows])
