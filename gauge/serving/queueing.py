"""M/M/c queues in closed form, which the simulated fleet is checked against."""

from __future__ import annotations

import math


def erlang_c(servers: int, load: float) -> float:
    """The share of queries that wait in an M/M/c queue (Erlang, 1917).

    load: arrival rate over the rate of one server. ValueError unless 0 < load < servers: a fuller
    queue grows without end.
    """
    if not 0 < load < servers:
        raise ValueError(f"a load of {load:g} for {servers} servers; expected between 0 and that")
    # Erlang B by its recursion, which keeps its digits for any number of servers.
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait(servers: int, arrivals: float, served: float) -> float:
    """Mean seconds in the queue, service left out. arrivals, served: a second, each server's."""
    load = arrivals / served
    return erlang_c(servers, load) / (servers * served - arrivals)


def late(servers: int, arrivals: float, served: float, wait: float) -> float:
    """The share of queries that wait longer than `wait` seconds."""
    load = arrivals / served
    return erlang_c(servers, load) * math.exp(-(servers * served - arrivals) * wait)
