"""Load orders: balanced at every even look, drawn by chance, repeatable."""

from __future__ import annotations

from gauge.order import candidate_first
from gauge.sequential import LOOKS


def orders(seed, cell, count=12):
    return [candidate_first(seed, cell, number) for number in range(count)]


def test_both_orders_come_equally_often_at_the_looks():
    for seed in range(50):
        found = orders(seed, "resnet18-none-cpu")
        for look in LOOKS:
            assert abs(2 * sum(found[:look]) - look) == look % 2


def test_orders_are_drawn_and_do_not_simply_alternate():
    cells = [orders(0, f"m{index}-t-cpu") for index in range(200)]
    firsts = sum(found[0] for found in cells)
    assert 60 < firsts < 140
    # Where one pair ends and the next begins, the order stays as often as it changes.
    stays = sum(found[1] == found[2] for found in cells)
    assert 60 < stays < 140
    assert len({tuple(found) for found in cells}) > 40


def test_the_seed_and_the_cell_decide():
    assert orders(3, "a") == orders(3, "a")
    assert {tuple(orders(seed, "a")) for seed in range(20)} != {tuple(orders(0, "a"))}
