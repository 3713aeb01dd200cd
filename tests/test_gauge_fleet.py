"""The simulated fleet: M/M/c's formulas, cold starts, and an autoscaler that follows traffic."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.serving import fleet, queueing
from gauge.serving.batching import Policy
from gauge.serving.fleet import Replica, Simulation
from gauge.serving.traffic import Trace

pytest.importorskip("simpy", reason="simpy is not installed")


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.4), (4, 2.8), (8, 5.6)])
def test_waiting_times_are_within_two_percent_of_erlang_c(servers, load):
    count, served = max(400_000, 150_000 * servers), 100.0
    arrivals = np.random.default_rng(servers).exponential(1 / (load * served), count).cumsum()
    draw = random.Random(servers)
    replica = Replica(Policy(1), lambda size: draw.expovariate(served), served, 0.0)
    simulation = Simulation(replica, arrivals, start=servers, seconds=arrivals[-1], scales=False)
    simulation.run()
    expected = queueing.mean_wait(servers, load * served, served)
    assert simulation.waited.mean() == pytest.approx(expected, rel=0.02)
    assert (simulation.waited > 0).mean() == pytest.approx(
        queueing.erlang_c(servers, load), rel=0.02
    )


def test_one_server_is_known_in_closed_form():
    assert queueing.erlang_c(1, 0.5) == pytest.approx(0.5)
    assert queueing.mean_wait(1, 0.5, 1.0) == pytest.approx(1.0)
    assert queueing.erlang_c(2, 1.0) == pytest.approx(1 / 3)


@given(st.integers(1, 50), st.floats(0.01, 0.99))
def test_more_servers_wait_less(servers, share):
    load = share * servers
    assert 0 <= queueing.erlang_c(servers + 1, load) <= queueing.erlang_c(servers, load) <= 1


@pytest.mark.parametrize("load", [0.0, -1.0, 2.0, float("nan")])
def test_a_queue_without_an_end_is_refused(load):
    with pytest.raises(ValueError, match="expected between 0"):
        queueing.erlang_c(2, load)


def replica(cold=5.0, policy=None, instances=1):
    return Replica(policy or Policy(8), lambda size: 0.008 + 0.002 * size, 250.0, cold, instances)


TRACE = Trace((100.0,) * 6 + (900.0,) * 12 + (100.0,) * 12, 10.0, "steps")


def test_the_fleet_follows_the_traffic_and_comes_back():
    found = fleet.simulate(replica(), TRACE, 0.1, 0)
    numbers = [number for _, _, number in found["timeline"]]
    assert numbers[0] == 1
    assert max(numbers) == found["most_replicas"] == fleet.replicas(250.0, 900.0)
    assert numbers[-1] < max(numbers)
    assert found["simulated"] is True
    hours = np.mean(numbers) * TRACE.seconds / 3600
    assert found["replica_hours"] == pytest.approx(hours, rel=0.15)


def test_a_longer_cold_start_misses_more():
    shares = [fleet.simulate(replica(cold), TRACE, 0.1, 0)["misses"] for cold in (1.0, 10.0, 30.0)]
    assert shares == sorted(shares)
    assert shares[-1] > shares[0]


def test_the_same_seed_gives_the_same_fleet():
    first, second = (fleet.simulate(replica(), TRACE, 0.1, 5) for _ in range(2))
    assert first == second
    assert fleet.simulate(replica(), TRACE, 0.1, 6)["queries"] != first["queries"]


def test_a_host_of_two_instances_serves_twice_and_counts_once():
    one = fleet.simulate(replica(), TRACE, 0.1, 0)
    two = fleet.simulate(
        Replica(Policy(8), lambda size: 0.016 + 0.004 * size, 250.0, 5.0, 2), TRACE, 0.1, 0
    )
    assert two["replica_hours"] == pytest.approx(one["replica_hours"], rel=0.1)


def test_every_query_is_answered_once_in_batches_that_wait():
    simulation = Simulation(
        replica(policy=Policy(4, 0.02)), TRACE.arrivals(1), start=4, seconds=300.0, scales=False
    )
    simulation.run()
    assert np.isfinite(simulation.latency).all()
    assert (simulation.latency >= simulation.waited).all()
    assert (simulation.waited >= 0).all()


def test_calls_are_drawn_from_those_of_the_next_larger_batch():
    service = fleet.drawn({"1": [1.0], "2": [2.0], "4": [4.0, 4.5]}, 0)
    assert service(1) == 1.0
    assert service(2) == 2.0
    assert {service(3) for _ in range(40)} == {4.0, 4.5}
    assert service(9) in (4.0, 4.5)
