"""Dynamic batching: nobody is lost, nobody overtakes, nobody waits longer than told."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.serving.batching import Batcher, Policy

POLICIES = st.builds(Policy, st.integers(1, 8), st.floats(0, 0.1))


@pytest.mark.parametrize(
    ("largest", "wait"), [(0, 0.0), (-1, 0.0), (1, -0.1), (1, math.nan), (1, math.inf)]
)
def test_a_policy_that_makes_no_sense_is_refused(largest, wait):
    with pytest.raises(ValueError, match="at least 1 and a finite wait from 0 up"):
        Policy(largest, wait)


@given(POLICIES, st.lists(st.lists(st.integers(), max_size=5), max_size=20))
def test_every_query_goes_once_and_in_its_order(policy, arrivals):
    batcher = Batcher(policy)
    taken = []
    for time, queries in enumerate(arrivals):
        batcher.add(time, queries)
        while batcher.due(time) == 0:
            batch = batcher.take()
            assert 1 <= len(batch) <= policy.largest
            taken += batch
    while len(batcher):
        taken += batcher.take()
    assert taken == [query for queries in arrivals for query in queries]
    assert batcher.due(0.0) is None


@given(POLICIES, st.floats(0, 10), st.floats(0, 1))
def test_the_oldest_waits_no_longer_than_told(policy, arrived, later):
    batcher = Batcher(policy)
    batcher.add(arrived, ["first"])
    due = batcher.due(arrived + later)
    assert due is not None
    if policy.largest == 1:
        assert due == 0
    else:
        assert due == pytest.approx(max(0.0, policy.wait - later), abs=1e-9)


def test_later_company_does_not_make_the_oldest_wait_longer():
    batcher = Batcher(Policy(8, 1.0))
    batcher.add(0.0, ["old"])
    batcher.add(0.9, ["young"])
    assert batcher.due(0.9) == pytest.approx(0.1)


def test_a_full_batch_goes_at_once():
    batcher = Batcher(Policy(3, 60.0))
    batcher.add(0.0, "ab")
    assert batcher.due(0.0) == 60.0
    batcher.add(1.0, "cd")
    assert batcher.due(1.0) == 0.0
    assert batcher.take() == ["a", "b", "c"]
    assert batcher.due(1.0) == 60.0
