"""Which worker of pytest-xdist gets which gates: a cell's all go to one, times come last.

Building is what several workers do faster. So the gates that need building are handed out cell by
cell, a model's cells to the worker that trained it while there are others to do; then every worker
times the cells that it built, in rounds, and the lock of timed sections keeps them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from gauge.verdict import BATCH_GATES, GATES, deployment_of
from suites.matrix import Cell

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


class ByCell(LoadScopeScheduling):
    """Hands out a cell at a time: first what is built, then, to the same worker, what is timed."""

    def __init__(
        self, config: pytest.Config, log: Any, cells: Sequence[Cell], batches: Sequence[int]
    ) -> None:
        super().__init__(config, log)
        self.asked: dict[str, tuple[Cell, str]] = {}
        for cell in cells:
            for gate in GATES:
                for batch in batches if gate in BATCH_GATES else (None,):
                    self.asked[f"test_{gate}[{cell.item(batch)}]"] = cell, gate
        self.units: dict[str, tuple[Cell, bool]] = {}
        self.homes: dict[Cell, WorkerController] = {}

    def _split_scope(self, nodeid: str) -> str:
        """A cell's built gates, or its timed ones; a test that is not ours is by itself."""
        asked = self.asked.get(nodeid.rpartition("::")[2])
        if asked is None:
            return nodeid
        cell, gate = asked
        timed = gate == "speed" or deployment_of(gate) is not None
        scope = f"{'time' if timed else 'build'} {cell.id}"
        self.units[scope] = cell, timed
        return scope

    def _assign_work_unit(self, node: WorkerController) -> None:
        scope = self._next(node)
        if scope is None:
            return
        if scope in self.units:
            self.homes[self.units[scope][0]] = node
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if self.workqueue and not node.shutting_down and self._next(node) is None:
            node.shutdown()  # what is left is for other workers to time
            return
        super()._reschedule(node)

    def _next(self, node: WorkerController) -> str | None:
        """The unit of work that this worker takes next, None when the rest is for others."""
        owners = {cell.model: home for cell, home in self.homes.items() if home in self.nodes}
        mine = {cell.model for cell, home in self.homes.items() if home is node}

        def rank(scope: str) -> int:
            if scope not in self.units:
                return 0
            cell, timed = self.units[scope]
            strangers = 2 if cell.model in owners else 1
            return 3 * timed + (0 if cell.model in mine else strangers)

        def possible(scope: str) -> bool:
            cell, timed = self.units.get(scope, (None, False))
            home = self.homes.get(cell) if cell else None
            return not timed or home is node or home not in self.nodes

        return min(filter(possible, self.workqueue), key=rank, default=None)
