"""Which arm a process loads first: drawn by chance, equally often over the looks."""

from __future__ import annotations

import hashlib


def candidate_first(seed: int, cell: str, number: int) -> bool:
    """Whether process `number` (from 0) of a cell loads and calls the candidate first.

    Where an arm's weights lie depends on what was loaded before, and favours one arm by a percent
    or two for a process's life. Processes 2i and 2i + 1 get both orders, in a random order of
    their own (permuted blocks of two): each order comes equally often after 2, 4, 6, 8 and 12
    processes, and nothing periodic on the machine keeps step with it.
    """
    drawn = hashlib.sha256(f"{seed} {cell} {number // 2}".encode()).digest()[0] & 1
    return bool(drawn) != bool(number % 2)
