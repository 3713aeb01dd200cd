"""How long one process times a pair of arms."""

from __future__ import annotations

from dataclasses import dataclass, replace

SEGMENT_S = 0.010
"""Shortest time taken at once: long against the clock's and a switch's own cost.

Note: between-process SD of A/A log-ratios on a shared 2-core machine, one thread, 0.6 to 1.2 s a
process. Otherwise idle: 0.4 to 1.3 % at one hour (MLP, LSTM, ViT; ResNet-18 0.9 to 2.1 %), 1.1 to
3.3 % at another. Bootstrapping a process's blocks predicts as much, so more blocks help and the
process itself adds little. Both cores busy: 1.9 to 6 %, and 0.7 to 1.5 % with segments of 2.5 ms;
8 % and more with either at a load of 5. No mean, quartile or minimum repeated better throughout
than the median of blocks.
"""


@dataclass(frozen=True)
class Length:
    """Arguments of gauge.timing.measure_pair, for one batch size; all but the blocks in seconds."""

    seconds: float
    least_blocks: int
    single_seconds: float = 0.0
    segment: float = SEGMENT_S

    def times(self, factor: float) -> Length:
        """The same with so many times the seconds: its segments and blocks stay as they are."""
        seconds, singles = factor * self.seconds, factor * self.single_seconds
        return replace(self, seconds=seconds, single_seconds=singles)
