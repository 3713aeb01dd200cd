"""The search for a batching policy, against servers that are computed rather than timed."""

import numpy as np
import pytest

from gauge.serving import search
from gauge.serving.batching import Policy
from gauge.serving.search import Probe

QUERIES = 4000
UNIT = np.random.default_rng(7).exponential(size=QUERIES).cumsum()
SIZES = (1, 2, 4, 8, 16, 32)


def services(fixed, each):
    """A call costs something by itself and something a row."""
    return {str(size): [fixed + each * size] * 3 for size in SIZES}


def asker(fixed, each, deadline, asked=None):
    """Probes of a computed server."""

    def ask(policy, rate):
        if asked is not None:
            asked.append((policy, rate))
        arrivals = UNIT / rate
        took = search.latencies(arrivals, policy, lambda size: fixed + each * size)
        answered = QUERIES / (arrivals + took).max()
        late = float((took > deadline).mean())
        return Probe(QUERIES / arrivals[-1], late, float(np.quantile(took, 0.99)), answered)

    return ask


@pytest.mark.parametrize(
    ("fixed", "each", "deadline"),
    [(0.004, 0.001, 0.05), (0.0001, 0.005, 0.03), (0.01, 0.0002, 0.1), (0.002, 0.002, 0.012)],
)
def test_the_policy_found_is_within_five_percent_of_an_exhaustive_grid(fixed, each, deadline):
    ask, times = asker(fixed, each, deadline), services(fixed, each)
    found = search.find(ask, times, deadline)
    grid = [
        search.highest(Policy(size, share * deadline), ask, found.best.rate)
        for size in SIZES
        for share in (0.0, *search.WAITS)
    ]
    best = max(point.rate or 0.0 for point in grid)
    assert found.best.rate >= 0.95 * best
    assert found.one.policy == Policy(1)
    assert found.best.rate >= found.one.rate


def test_a_rate_is_the_highest_that_holds():
    ask = asker(0.004, 0.001, 0.05)
    point = search.highest(Policy(8), ask, 50.0)
    assert ask(Policy(8), point.rate).holds
    assert not ask(Policy(8), point.rate * (1 + 2 * search.WITHIN)).holds


@pytest.mark.parametrize("factor", [0.02, 0.3, 3.0, 10.0])
def test_a_poor_guess_costs_probes_and_no_truth(factor):
    ask = asker(0.004, 0.001, 0.05)
    right = search.highest(Policy(4), ask, 400.0).rate
    point = search.highest(Policy(4), ask, factor * right)
    if factor > 1 / search.STEP**8:
        assert point.rate == pytest.approx(right, rel=2 * search.WITHIN)
    assert len(point.probes) <= search.MOST_PROBES + 1


def test_a_deadline_that_cannot_be_met_gives_the_nearest_policy_soon():
    asked = []
    found = search.find(asker(0.004, 0.001, 0.003, asked), services(0.004, 0.001), 0.003)
    assert found.best is None
    assert found.nearest.policy == Policy(1)
    assert found.nearest.p99 >= 0.005
    assert len(asked) <= 3
    told = found.as_dict()
    assert told["best"] is None
    assert told["nearest"]["largest_batch"] == 1


def test_one_pause_does_not_set_the_bound():
    ask, paused = asker(0.004, 0.001, 0.05), []

    def disturbed(policy, rate):
        probe = ask(policy, rate)
        if probe.holds and not paused:
            paused.append(rate)
            return Probe(probe.rate, 0.04, 0.06, probe.answered)
        return probe

    right = search.highest(Policy(4), ask, 300.0).rate
    assert search.highest(Policy(4), disturbed, 300.0).rate == pytest.approx(right, rel=0.02)
    assert paused


def test_a_server_that_falls_behind_does_not_hold():
    assert Probe(100.0, 0.0, 0.01, 99.0).holds
    assert not Probe(100.0, 0.0, 0.01, 90.0).holds
    assert not Probe(100.0, 0.02, 0.01, 100.0).holds


def test_latencies_of_a_batching_server_by_hand():
    arrivals = np.array([0.0, 1.0, 1.5, 10.0])
    took = search.latencies(arrivals, Policy(2, 2.0), lambda size: float(size))
    # 0 waits for 1 to come, both take 2 s; 1.5 waits its 2 s; so does 10.
    assert took.tolist() == [3.0, 2.0, 3.0, 3.0]
    took = search.latencies(arrivals, Policy(2), lambda size: 2.0)
    assert took.tolist() == [2.0, 3.0, 2.5, 2.0]


def test_a_policy_that_was_lucky_once_is_measured_again_and_does_not_win():
    """Each policy holds up to a rate of its own; the first measurement of one is 8 % too good."""
    truth = {0.0: 1000.0, 0.0025: 1060.0, 0.00625: 900.0, 0.0125: 800.0}
    runs = {}

    def ask(policy, rate):
        limit = truth[round(policy.wait, 5)] if policy.largest == 8 else 100.0 * policy.largest
        lucky = policy == Policy(8) and len(runs[policy]) == 1
        return Probe(rate, 0.0 if rate <= limit * (1.08 if lucky else 1.0) else 0.5, 0.01, rate)

    plain = search.highest

    def counted(policy, asked, guess):
        runs.setdefault(policy, []).append(guess)
        return plain(policy, asked, guess)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "highest", counted)
        times = {str(size): [0.001 * size] * 3 for size in (1, 2, 4, 8)}
        found = search.find(ask, times, 0.025)
    assert found.best.policy.wait == pytest.approx(0.0025)
    assert found.best.rate == pytest.approx(1060, rel=0.03)
    assert len(runs[Policy(8)]) == 1 + search.AGAIN
